"""The cloud's endpoint: gRPC netgpt.v1 with streaming Generate, standard health and reflection.

Start: listen, NOT_SERVING -> load and probe the model -> SERVING, one line on stdout.
SIGTERM or SIGINT: NOT_SERVING, new calls UNAVAILABLE -> running answers get service.drain_s
seconds -> the engine ends -> return. A second signal ends the waiting at once.
"""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fl.errors import GenerationError, SettingsError
from fl.generation import Reply
from fl.settings import Settings
from fl.wire.address import join_address, require_loopback
from fl.wire.codec import event_to_wire, request_from_wire, started_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from server.generation.embedded import open_engine
from server.generation.engine import Engine, Event
from server.service_errors import StatusInterceptor

SERVICE = pb.DESCRIPTOR.services_by_name["GenerationService"].full_name
ADDRESS_FILE = "service.address"  # in settings.run_dir, while the service runs
LOOK_EVERY_S = 0.5  # how often the engine is looked after


Context = grpc.aio.ServicerContext[pb.GenerateRequest, pb.GenerateResponse]


def serve(settings: Settings) -> None:
    """Run the service until SIGTERM. Raises SettingsError, BaseModelError or GenerationError."""
    asyncio.run(_serve(settings, open_engine))


async def _serve(settings: Settings, open_engine: Callable[[Settings], Engine]) -> None:
    stop, hurry = _signals()

    # 1. Listen, so that health can say that the model is still loading.
    service = GenerationService()
    statuses: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
    await _set_health(statuses, health_pb2.HealthCheckResponse.NOT_SERVING)
    server = grpc.aio.server(interceptors=[StatusInterceptor()], options=_options(settings))
    pb_grpc.add_GenerationServiceServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
    reflection.enable_server_reflection(names, server)
    address = _bind(server, settings.service.address)
    await server.start()

    address_file = settings.run_dir / ADDRESS_FILE
    engine: Engine | None = None
    try:
        # 2. Load and probe the model on a thread, then serve.
        engine = await asyncio.to_thread(open_engine, settings)
        if not stop.is_set():
            service.engine = engine
            await _set_health(statuses, health_pb2.HealthCheckResponse.SERVING)
            _publish(address_file, address)
            print(f"netgpt.v1 on {address}", flush=True)
            await _until_stopped(stop, engine)
    finally:
        # 3. Drain: refuse new calls, let running ones finish, then end the engine.
        await statuses.enter_graceful_shutdown()
        _withdraw(address_file, address)
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


def _signals() -> tuple[asyncio.Event, asyncio.Event]:
    """Events that the first and the second SIGTERM or SIGINT set."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def arrived() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, arrived)
    return stop, hurry


def _options(settings: Settings) -> list[tuple[str, int]]:
    # A token is hardly ever longer than 16 bytes; 64 KiB leave room for any short request.
    largest = max(64 * 1024, 16 * settings.service.max_prompt_tokens)
    return [
        ("grpc.max_receive_message_length", largest),
        ("grpc.so_reuseport", 0),  # else a second service would share the port, unnoticed
    ]


def _bind(server: grpc.aio.Server, wanted: str) -> str:
    """Bind a loopback address; return it with the real port."""
    host, port = require_loopback(wanted)
    try:
        bound = server.add_insecure_port(join_address(host, port))
    except RuntimeError:
        bound = 0
    if bound == 0:
        raise SettingsError(
            f"service.address {wanted!r} cannot be listened on: something else does already, "
            "or the port needs rights. Choose another port, or 0 for a free one."
        )
    return join_address(host, bound)


async def _set_health(statuses: Any, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
    for name in (health.OVERALL_HEALTH, SERVICE):
        await statuses.set(name, status)


async def _until_stopped(stop: asyncio.Event, engine: Engine) -> None:
    while not stop.is_set():
        if not engine.alive:
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


def _publish(file: Path, address: str) -> None:
    """Write the address so that a reader sees all of it or nothing."""
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with open(aside, "w") as stream:
        stream.write(address)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, file)


def _withdraw(file: Path, address: str) -> None:
    """Remove the file, unless another service has written its own address since."""
    if file.is_file() and file.read_text() == address:
        file.unlink()
