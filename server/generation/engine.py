"""What the service needs of anything that generates text."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece

if TYPE_CHECKING:  # the service of a cloud without a model imports no torch
    from server.generation.loading import LanguageModel

# What a request gets: pieces of text, then exactly one Reply or GenerationError, then nothing.
Event = TextPiece | Reply | GenerationError

# Takes events as they happen, on a thread of the engine's; must return at once and never raise.
Deliver = Callable[[Event], None]


@dataclass(frozen=True, kw_only=True)
class Load:
    """How busy an engine is, at one moment. What an engine cannot know is 0."""

    running: int  # requests
    waiting: int  # requests
    waiting_tokens: int  # prompt tokens of those that wait
    cache_tokens: int  # of the key/value cache, in use
    cache_limit: int  # engine.cache_tokens


class Ticket(Protocol):
    """An accepted request."""

    @property
    def release(self) -> str:
        """What answers it: "base", or a release of the cloud's adapter as in "cloud/3"."""

    def cancel(self) -> None:
        """Give the request up: it ends as `cancelled` within a decoding step. Safe to repeat."""


class Engine(Protocol):
    """A model that answers many requests at a time."""

    @property
    def model_name(self) -> str:
        """The model's name for people and for /v1/models."""

    @property
    def model_fingerprint(self) -> str:
        """sha256 of the answering model's files, hex; of a remote one, of its URL and name."""

    @property
    def release(self) -> str:
        """What new requests are answered with: "base" or "cloud/3"."""

    @property
    def alive(self) -> bool:
        """Whether accepted requests still make progress."""

    @property
    def load(self) -> Load:
        """How busy it is now."""

    def submit(self, request: GenerationRequest, deliver: Deliver) -> Ticket:
        """Accept a request or refuse it at once.

        Raises GenerationError: RESOURCE_EXHAUSTED (queue full), INVALID_ARGUMENT (too long),
        UNAVAILABLE (closing).
        """

    def language_model(self) -> "LanguageModel":
        """The model in this process that answers new requests.

        Raises GenerationError (UNIMPLEMENTED) where it is elsewhere.
        """

    def close(self) -> None:
        """Cancel what runs, refuse what waits, and end. Returns when the engine has ended."""
