"""The cloud's engine behind the OpenAI-compatible HTTP API."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from fl.errors import GenerationError
from fl.generation import GenerationRequest
from fl.openai_api.backend import ApiEvent, Extension, Model, no_such_model
from fl.openai_api.calls import TEXT, Call
from fl.openai_api.errors import ApiError
from fl.wire.codec import check_request
from server.event_queue import hand_over, joined
from server.generation.engine import Engine, Event, Ticket

SITE = "http"  # stands for the site in requests that come from none


class EngineBackend:
    """One model: the engine's."""

    def __init__(self, *, generates: bool) -> None:
        """`generates`: whether there is an engine, or will be."""
        self.engine: Engine | None = None  # while loading and draining, and where there is none
        self._generates = generates

    def models(self) -> Sequence[Model]:
        """The engine's model with its release."""
        engine = self.engine
        if engine is None:
            return []
        about = {"release": engine.release, "fingerprint": engine.model_fingerprint}
        return [Model(id=engine.model_name, owned_by="netgpt", extension=about)]

    async def open(self, call: Call) -> "EngineAnswer":
        """Hand a call to the engine. Raises GenerationError or ApiError."""
        engine = self.engine
        if not self._generates:
            raise no_such_model(call.model, [])
        if engine is None:
            raise GenerationError(
                "The cloud is loading its model or shutting down.", status="UNAVAILABLE"
            )
        if call.model != engine.model_name:
            raise no_such_model(call.model, self.models())
        if call.deadline_s is not None:
            raise ApiError("deadline_s is for the API of a site; leave it out.", param="deadline_s")
        request = GenerationRequest(
            request_id=uuid.uuid4().hex,
            site_id=SITE,
            prompt=call.prompt,
            history=call.history,
            plain=call.kind == TEXT,
            max_new_tokens=call.max_new_tokens,
            temperature=call.temperature,
            top_p=call.top_p,
            seed=call.seed,
            stop=call.stop,
        )
        check_request(request)
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()
        ticket = engine.submit(request, lambda event: hand_over(loop, events, event))
        return EngineAnswer(ticket, events)


@dataclass(frozen=True)
class EngineAnswer:
    """The events of an accepted request."""

    ticket: Ticket
    events: "asyncio.Queue[Event]" = field(repr=False)

    async def __aiter__(self) -> AsyncIterator[ApiEvent]:
        yield Extension(fields={"release": self.ticket.release})
        async for event in joined(self.events):
            yield event

    def cancel(self) -> None:
        """Give the request up."""
        self.ticket.cancel()
