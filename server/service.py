"""The cloud's endpoint: gRPC netgpt.v1 and, on a second port, the OpenAI-compatible HTTP API.

Start: listen, releases SERVING -> load and probe the model -> all SERVING, two lines on stdout.
With cloud.model=none there is no model to load and no Generate; torch is not even imported.
SIGTERM or SIGINT: NOT_SERVING, new calls UNAVAILABLE or 503 -> running answers of both get
service.drain_s seconds -> the engine ends -> return. A second signal ends the waiting at once.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fl.errors import GenerationError
from fl.network.state_file import NetworkRules, network_folder
from fl.openai_api.api_keys import ApiKeys, load_keys
from fl.openai_api.gateway import Gateway
from fl.openai_api.listener import HttpListener
from fl.service_metrics import ServiceMetrics
from fl.settings import Settings, resolve
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from fl.wire.netgpt.v1 import (
    orchestration_pb2,
    orchestration_pb2_grpc,
    releases_pb2,
    releases_pb2_grpc,
    split_pb2,
    split_pb2_grpc,
)
from server.generation.engine import Engine
from server.generation.metered import metered
from server.generation.opening import open_engine
from server.generation.workers.placing import Place
from server.generation_service import GenerationService
from server.http_backend import EngineBackend
from server.orchestration.book import Book
from server.orchestration.booked import Booked, BookPlace, booked
from server.orchestration.denied import check_allowed
from server.orchestration.orchestration_service import OrchestrationService
from server.release_service import ReleaseService
from server.service_errors import StatusInterceptor
from server.service_start import (
    ADDRESS_FILE,
    HTTP_FILE,
    bind,
    certificates,
    largest_request,
    options,
    publish,
    stop_events,
    withdraw,
)
from server.split_service import SplitService

log = logging.getLogger(__name__)

GENERATION = pb.DESCRIPTOR.services_by_name["GenerationService"].full_name
SPLIT = split_pb2.DESCRIPTOR.services_by_name["SplitService"].full_name
ORCHESTRATION = orchestration_pb2.DESCRIPTOR.services_by_name["OrchestrationService"].full_name
RELEASES = releases_pb2.DESCRIPTOR.services_by_name["ReleaseService"].full_name
KEYS_VARIABLE = "NETGPT_API_KEYS"
LOOK_EVERY_S = 0.5  # how often the engine is looked after

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING

Say = Callable[[str], None]
OpenEngine = Callable[[Settings, Say, Place], Engine]


def serve(settings: Settings, *, tethered: bool = False) -> None:
    """Run the service until SIGTERM; `tethered` until standard input ends, too.

    Raises SettingsError, BaseModelError or GenerationError.
    """
    generates = settings.cloud.model != "none"
    asyncio.run(_serve(settings, open_engine if generates else None, tethered=tethered))


@dataclass(frozen=True)
class _Ports:
    """What listens, and who answers there."""

    server: grpc.aio.Server
    address: str
    http: HttpListener | None
    gateway: Gateway
    generation: GenerationService
    split: SplitService | None  # None for a cloud without a model
    book: Book
    orchestration: OrchestrationService
    backend: EngineBackend
    statuses: Any

    def put_into_use(self, engine: Booked | None) -> None:
        """Answer with this engine from now on; None refuses."""
        self.generation.engine = self.backend.engine = self.orchestration.engine = engine
        if self.split is not None:
            self.split.engine = engine


async def _serve(
    settings: Settings, open_engine: OpenEngine | None, *, tethered: bool = False
) -> None:
    stop, hurry = stop_events(tethered=tethered)
    said = _Said()
    metrics = ServiceMetrics("cloud")

    with ExitStack() as ending:
        # 1. Listen: releases are there at once, and health can say that the model is loading.
        ports = _listen(settings, metrics, generates=open_engine is not None)
        if ports.http is not None:
            ending.callback(ports.http.stop)
        if open_engine is not None:
            await _set_health(ports, _NOT_SERVING, health.OVERALL_HEALTH, GENERATION)
        await ports.server.start()
        await _set_health(ports, _SERVING, RELEASES)
        engine: Booked | None = None
        try:
            # 2. Load and probe the model on a thread, then serve.
            if ports.http is not None:
                await asyncio.to_thread(ports.http.start, ports.gateway)
            if open_engine is not None:
                place = BookPlace(ports.book)
                opened = await asyncio.to_thread(open_engine, settings, said, place)
                engine = booked(metered(opened, metrics), ports.book, pool=opened)
            if not stop.is_set():
                ports.put_into_use(engine)
                ports.gateway.ready = True
                names = [health.OVERALL_HEALTH, *([GENERATION] if engine is not None else [])]
                await _set_health(ports, _SERVING, *names)
                _tell(settings, ports, said)
                await _until_stopped(stop, engine)
        finally:
            # 3. Drain: refuse new calls, let running ones finish, then end the engine.
            await ports.statuses.enter_graceful_shutdown()
            withdraw(settings.service_dir / ADDRESS_FILE, ports.address)
            if ports.http is not None:
                withdraw(settings.service_dir / HTTP_FILE, ports.http.url)
            ports.put_into_use(None)
            await _drain(ports, settings.service.drain_s, hurry)
            if engine is not None:
                await asyncio.to_thread(engine.close)


def _listen(settings: Settings, metrics: ServiceMetrics, *, generates: bool) -> _Ports:
    """Bind both ports. Raises SettingsError."""
    service = settings.service
    keys = load_keys(
        resolve(service.api_keys) if service.api_keys else "",
        variable=KEYS_VARIABLE,
        per_minute=service.requests_per_minute,
        setting="service.api_keys",
    )
    border = StatusInterceptor(keys, metrics.refused)
    server = grpc.aio.server(interceptors=[border], options=options(settings))
    statuses: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    releases_pb2_grpc.add_ReleaseServiceServicer_to_server(ReleaseService(settings), server)
    names = [RELEASES, health.SERVICE_NAME, reflection.SERVICE_NAME]
    book = Book(settings, rules=NetworkRules(network_folder(settings)))

    def check_site(site_id: str) -> None:
        check_allowed(book.rules(), site_id)

    generation = GenerationService(metrics.refused, check_site=check_site)
    orchestration = OrchestrationService(book)
    backend = EngineBackend(generates=generates)
    split = None
    if generates:
        pb_grpc.add_GenerationServiceServicer_to_server(generation, server)
        split = SplitService(settings.split.requests, metrics.refused, check_site=check_site)
        split_pb2_grpc.add_SplitServiceServicer_to_server(split, server)
        orchestration_pb2_grpc.add_OrchestrationServiceServicer_to_server(orchestration, server)
        names += [GENERATION, SPLIT, ORCHESTRATION]
    reflection.enable_server_reflection(names, server)
    http = _http_listener(settings, keys)
    gateway = Gateway(
        backend,
        keys=keys,
        metrics=metrics,
        largest_body=largest_request(settings),
        on_error=lambda error_id, kind, frames: log.error(
            "error %s: %s\n%s", error_id, kind, frames
        ),
        guard_metrics=http is not None and not http.local,
    )
    try:
        address = bind(server, settings)
    except BaseException:
        if http is not None:
            http.stop()
        raise
    return _Ports(
        server, address, http, gateway, generation, split, book, orchestration, backend, statuses
    )


def _http_listener(settings: Settings, keys: ApiKeys) -> HttpListener | None:
    if settings.service.http == "none":
        return None
    return HttpListener(
        settings.service.http,
        setting="service.http",
        certificates=certificates(settings),
        has_keys=keys.required,
        insecure=settings.service.insecure,
    )


class _Said:
    """Lines for the operator; those of the start wait until it is known where the service is."""

    def __init__(self) -> None:
        self._waiting: list[str] | None = []

    def __call__(self, line: str) -> None:
        if self._waiting is None:
            print(line, flush=True)
        else:
            self._waiting.append(line)

    def begin(self, *first: str) -> None:
        lines, self._waiting = [*first, *(self._waiting or [])], None
        print("\n".join(lines), flush=True)


def _tell(settings: Settings, ports: _Ports, said: _Said) -> None:
    """Write down where the service is, and say so."""
    publish(settings.service_dir / ADDRESS_FILE, ports.address)
    lines = [f"netgpt.v1 on {ports.address}"]
    if ports.http is not None:
        publish(settings.service_dir / HTTP_FILE, ports.http.url)
        lines.append(f"openai on {ports.http.url}/v1")
    said.begin(*lines)


async def _set_health(ports: _Ports, status: int, *names: str) -> None:
    for name in names:
        await ports.statuses.set(name, status)


async def _until_stopped(stop: asyncio.Event, engine: Engine | None) -> None:
    while not stop.is_set():
        if engine is not None and not engine.alive:
            raise GenerationError("The engine's thread has ended; the service cannot go on.")
        try:
            await asyncio.wait_for(stop.wait(), timeout=LOOK_EVERY_S)
        except TimeoutError:
            continue


async def _drain(ports: _Ports, grace_s: float, hurry: asyncio.Event) -> None:
    """Both ports at the same time; `hurry` ends it."""
    hurried = threading.Event()

    async def both() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(ports.server.stop(grace_s))
            if ports.http is not None:
                group.create_task(asyncio.to_thread(ports.http.drain, grace_s, hurried))

    draining, hurrying = asyncio.create_task(both()), asyncio.create_task(_wait(hurry))
    await asyncio.wait({draining, hurrying}, return_when=asyncio.FIRST_COMPLETED)
    hurrying.cancel()
    hurried.set()
    if not draining.done():
        await ports.server.stop(None)
    await draining


async def _wait(event: asyncio.Event) -> None:
    await event.wait()
