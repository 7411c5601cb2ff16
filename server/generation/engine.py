"""What the service needs of anything that generates text."""

from collections.abc import Callable
from typing import Protocol

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece

# What a request gets: pieces of text, then exactly one Reply or GenerationError, then nothing.
Event = TextPiece | Reply | GenerationError

# Takes events as they happen, on a thread of the engine's; must return at once and never raise.
Deliver = Callable[[Event], None]


class Ticket(Protocol):
    """An accepted request."""

    def cancel(self) -> None:
        """Give the request up: it ends as `cancelled` within a decoding step. Safe to repeat."""


class Engine(Protocol):
    """A model that answers many requests at a time."""

    @property
    def model_fingerprint(self) -> str:
        """sha256 of the answering model's files, hex."""

    @property
    def alive(self) -> bool:
        """Whether accepted requests still make progress."""

    def submit(self, request: GenerationRequest, deliver: Deliver) -> Ticket:
        """Accept a request or refuse it at once.

        Raises GenerationError: RESOURCE_EXHAUSTED (queue full), INVALID_ARGUMENT (too long),
        UNAVAILABLE (closing).
        """

    def close(self) -> None:
        """Cancel what runs, refuse what waits, and end. Returns when the engine has ended."""
