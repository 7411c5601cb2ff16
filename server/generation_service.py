"""netgpt.v1.GenerationService: message in, request to the engine, events out as messages."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from fl.errors import GenerationError
from fl.generation import GenerationRequest
from fl.wire.codec import event_to_wire, request_from_wire, started_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from server.event_queue import hand_over, joined
from server.generation.engine import Engine, Event, Load

MOST_PADDING = 65_536  # bytes of a probe, each way

Context = grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]


class GenerationService(pb_grpc.GenerationServiceServicer):
    """Answers with whatever engine is in use."""

    def __init__(
        self,
        refused: Callable[[str], None] = lambda status: None,
        *,
        check_site: Callable[[str], None] = lambda site_id: None,
    ) -> None:
        """`refused` is told the status of each request that does not get as far as the engine;
        `check_site` raises GenerationError for a site that is not to be answered.
        """
        self.engine: Engine | None = None  # while loading and draining
        self._refused, self._check_site = refused, check_site

    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        try:
            engine, wanted = self._admitted(request)
        except GenerationError as error:
            self._refused(error.status)
            raise
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        ticket = engine.submit(wanted, lambda event: hand_over(loop, events, event))
        try:
            yield started_to_wire(engine.model_fingerprint, ticket.release)
            async for event in joined(events):
                if isinstance(event, GenerationError):
                    raise event
                yield event_to_wire(event, tokens=request.tokens)
        finally:  # also when the caller left or its deadline passed
            ticket.cancel()

    async def Probe(self, request: pb.ProbeRequest, context: Any) -> pb.ProbeResponse:
        if self.engine is None:
            raise _away()
        sizes = (len(request.padding), request.wanted_bytes)
        if not all(0 <= size <= MOST_PADDING for size in sizes):
            raise GenerationError(
                f"Refused: a probe has 0 to {MOST_PADDING} bytes each way, found {sizes}.",
                status="INVALID_ARGUMENT",
            )
        load = self.engine.load
        return pb.ProbeResponse(
            padding=bytes(request.wanted_bytes),
            running=load.running,
            waiting=load.waiting,
            about=_about(self.engine, load) if request.about else None,
        )

    def _admitted(self, request: pb.GenerateRequest) -> tuple[Engine, GenerationRequest]:
        if self.engine is None:
            raise _away()
        wanted = request_from_wire(request)
        self._check_site(wanted.site_id)
        return self.engine, wanted


def _about(engine: Engine, load: Load) -> pb.About:
    return pb.About(
        model_name=engine.model_name,
        model_fingerprint=engine.model_fingerprint,
        release=engine.release,
        waiting_tokens=load.waiting_tokens,
        cache_tokens=load.cache_tokens,
        cache_limit=load.cache_limit,
    )


def _away() -> GenerationError:
    return GenerationError("The cloud is loading its model or shutting down.", status="UNAVAILABLE")
