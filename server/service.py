"""The cloud's endpoint: gRPC netgpt.v1, answers and releases, standard health and reflection.

Start: listen, releases SERVING -> load and probe the model -> all SERVING, one line on stdout.
With cloud.model=none there is no model to load and no Generate; torch is not even imported.
SIGTERM or SIGINT: NOT_SERVING, new calls UNAVAILABLE -> running answers get service.drain_s
seconds -> the engine ends -> return. A second signal ends the waiting at once.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fl.errors import GenerationError
from fl.generation import Reply
from fl.settings import Settings
from fl.wire.codec import event_to_wire, request_from_wire, started_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from fl.wire.netgpt.v1 import releases_pb2, releases_pb2_grpc
from server.generation.engine import Engine, Event
from server.release_service import ReleaseService
from server.service_errors import StatusInterceptor
from server.service_start import ADDRESS_FILE, bind, options, publish, stop_events, withdraw

GENERATION = pb.DESCRIPTOR.services_by_name["GenerationService"].full_name
RELEASES = releases_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name
LOOK_EVERY_S = 0.5  # how often the engine is looked after

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Context = grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]


def serve(settings: Settings) -> None:
    """Run the service until SIGTERM. Raises SettingsError, BaseModelError or GenerationError."""
    if settings.cloud.model == "none":
        asyncio.run(_serve(settings, None))
    else:
        from server.generation.embedded import open_engine  # imports torch

        asyncio.run(_serve(settings, open_engine))


async def _serve(settings: Settings, open_engine: Callable[[Settings], Engine] | None) -> None:
    stop, hurry = stop_events()

    # 1. Listen: releases are there at once, and health can say that the model is still loading.
    server = grpc.aio.server(interceptors=[StatusInterceptor()], options=options(settings))
    statuses: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    releases_pb2_grpc.add_ReleaseServiceServicer_to_server(ReleaseService(settings), server)
    names = [RELEASES, health.SERVICE_NAME, reflection.SERVICE_NAME]
    service = GenerationService()
    if open_engine is not None:
        pb_grpc.add_GenerationServiceServicer_to_server(service, server)
        await _set_health(statuses, _NOT_SERVING, health.OVERALL_HEALTH, GENERATION)
        names.append(GENERATION)
    reflection.enable_server_reflection(names, server)
    address = bind(server, settings)
    await server.start()
    await _set_health(statuses, _SERVING, RELEASES)

    address_file = settings.run_dir / ADDRESS_FILE
    engine: Engine | None = None
    try:
        # 2. Load and probe the model on a thread, then serve.
        if open_engine is not None:
            engine = await asyncio.to_thread(open_engine, settings)
        if not stop.is_set():
            if engine is not None:
                service.engine = engine
                await _set_health(statuses, _SERVING, GENERATION)
            await _set_health(statuses, _SERVING, health.OVERALL_HEALTH)
            publish(address_file, address)
            print(f"netgpt.v1 on {address}", flush=True)
            await _until_stopped(stop, engine)
    finally:
        # 3. Drain: refuse new calls, let running ones finish, then end the engine.
        await statuses.enter_graceful_shutdown()
        withdraw(address_file, address)
        service.engine = None
        await _stop(server, settings.service.drain_s, hurry)
        if engine is not None:
            await asyncio.to_thread(engine.close)


class GenerationService(pb_grpc.GenerationServiceServicer):
    """Message in, request to the engine, events out as messages."""

    def __init__(self) -> None:
        self.engine: Engine | None = None  # while loading and draining

    async def Generate(
        self, request: pb.GenerateRequest, context: Context
    ) -> AsyncIterator[pb.GenerateResponse]:
        engine = self.engine
        if engine is None:
            raise GenerationError(
                "The cloud is loading its model or shutting down.", status="UNAVAILABLE"
            )
        events: asyncio.Queue[Event] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        ticket = engine.submit(
            request_from_wire(request),
            lambda event: _hand_over(loop, events, event),
        )
        try:
            yield started_to_wire(engine.model_fingerprint)
            while True:
                event = await events.get()
                if isinstance(event, GenerationError):
                    raise event
                yield event_to_wire(event)
                if isinstance(event, Reply):
                    return
        finally:  # also when the caller left or its deadline passed
            ticket.cancel()


def _hand_over(loop: asyncio.AbstractEventLoop, events: asyncio.Queue[Event], event: Event) -> None:
    """Called on the engine's thread."""
    loop.call_soon_threadsafe(events.put_nowait, event)


async def _set_health(statuses: Any, status: int, *names: str) -> None:
    for name in names:
        await statuses.set(name, status)


async def _until_stopped(stop: asyncio.Event, engine: Engine | None) -> None:
    while not stop.is_set():
        if engine is not None and not engine.alive:
            raise GenerationError("The engine's thread has ended; the service cannot go on.")
        try:
            await asyncio.wait_for(stop.wait(), timeout=LOOK_EVERY_S)
        except TimeoutError:
            continue


async def _stop(server: grpc.aio.Server, grace_s: float, hurry: asyncio.Event) -> None:
    stopping = asyncio.ensure_future(server.stop(grace_s))
    hurried = asyncio.ensure_future(hurry.wait())
    await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
    hurried.cancel()
    if not stopping.done():
        await server.stop(None)
    await stopping
