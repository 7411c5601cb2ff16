"""What the gateway needs of a service that answers."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from fl.errors import GenerationError
from fl.generation import Reply, TextPiece
from fl.openai_api.calls import Call
from fl.openai_api.errors import ApiError


@dataclass(frozen=True, kw_only=True)
class Model:
    """A line of /v1/models."""

    id: str
    owned_by: str
    extension: Mapping[str, object] = field(default_factory=dict)  # put under "netgpt"


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What a service tells beyond OpenAI's fields: put under "netgpt", later ones added to it."""

    fields: Mapping[str, object] = field(repr=False)  # holds prompts


# Of one call: any of the first two, then exactly one Reply or GenerationError, then nothing.
ApiEvent = Extension | TextPiece | Reply | GenerationError


class Answer(Protocol):
    """An accepted call."""

    def __aiter__(self) -> AsyncIterator[ApiEvent]:
        """The events as they come."""

    def cancel(self) -> None:
        """The caller has left. Safe to repeat, also after the end."""


class Backend(Protocol):
    """A service that answers."""

    def models(self) -> Sequence[Model]:
        """What can be asked now."""

    async def open(self, call: Call) -> Answer:
        """Accept a call or refuse it at once.

        Raises GenerationError, which the service has counted itself, or ApiError, which the gateway
        counts.
        """


def no_such_model(name: str, models: Sequence[Model]) -> ApiError:
    """The refusal of a model that is not there. The name is the caller's and is not repeated."""
    there = ", ".join(model.id for model in models) or "none"
    return ApiError(
        f"There is no such model here; there is: {there}.",
        http_status=404,
        code="model_not_found",
        param="model",
    )
