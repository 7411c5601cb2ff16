"""The service's border: statuses, leaks, cancellation; with a scripted engine, over real gRPC."""

import asyncio
import os
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fl.errors import GenerationError, SettingsError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.openai_api.api_keys import ApiKeys
from fl.settings import Settings, load
from fl.wire.codec import request_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from server.generation.engine import Deliver, Engine, Load
from server.generation_service import GenerationService
from server.service import _serve
from server.service_errors import StatusInterceptor
from server.service_start import options

CANARY = "the orchard behind the chapel"
REQUEST = GenerationRequest(request_id="r", site_id="s", prompt=CANARY)
METHOD = "/netgpt.v1.GenerationService/Generate"
REPLY = Reply(
    text="yes",
    finish_reason="stop",
    prompt_tokens=1,
    completion_tokens=1,
    queue_seconds=0,
    prefill_seconds=0,
    decode_seconds=0,
    model_fingerprint="ab",
)


class ScriptedEngine:
    """Does what the test says on submit; enough, for the service only hands events through."""

    model_name = "netgpt-cloud"
    model_fingerprint = "ab"
    release = "base"
    alive = True
    load = Load(running=0, waiting=0, waiting_tokens=0, cache_tokens=0, cache_limit=0)

    def __init__(self, script: Callable[[GenerationRequest, Deliver], None]) -> None:
        self._script = script
        self.cancelled = threading.Event()

    def submit(self, request: GenerationRequest, deliver: Deliver) -> "ScriptedEngine":
        self._script(request, deliver)
        return self

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.alive = False


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(
        ["service.address=127.0.0.1:0", "service.http=none", f"var={tmp_path}", "service.drain_s=1"]
    )


@asynccontextmanager
async def listening(engine: Engine | None, settings: Settings) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(
        interceptors=[StatusInterceptor(ApiKeys({}))], options=options(settings)
    )
    service = GenerationService()
    service.engine = engine
    pb_grpc.add_GenerationServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def read_all(stream: Any) -> list[Any]:
    return [message async for message in stream]


def status_of(
    engine: Engine | None, settings: Settings, data: bytes | None = None
) -> grpc.aio.AioRpcError:
    """Send a request (its bytes as they are); return the error it ends with."""

    async def call() -> grpc.aio.AioRpcError:
        async with listening(engine, settings) as channel:
            payload = request_to_wire(REQUEST).SerializeToString() if data is None else data
            raw: Any = channel  # its types want serializers; these bytes go as they are
            stream = raw.unary_stream(METHOD)(payload, timeout=30)
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await read_all(stream)
            return failed.value

    return asyncio.run(call())


def test_pieces_stream_and_one_end_comes_last(settings: Settings) -> None:
    def script(request: GenerationRequest, deliver: Deliver) -> None:
        assert request == REQUEST
        deliver(TextPiece(text="y"))
        deliver(TextPiece(text="es"))
        deliver(REPLY)

    async def call() -> list[pb.GenerateResponse]:
        async with listening(ScriptedEngine(script), settings) as channel:
            stub = pb_grpc.GenerationServiceStub(channel)
            return [message async for message in stub.Generate(request_to_wire(REQUEST))]

    messages = asyncio.run(call())
    kinds = [message.WhichOneof("event") for message in messages]
    assert (kinds[0], set(kinds[1:-1]), kinds[-1]) == ("started", {"piece"}, "finished")
    assert "".join(m.piece.text for m in messages if m.WhichOneof("event") == "piece") == "yes"
    assert messages[0].started.model_fingerprint == "ab"


def test_an_unforeseen_exception_is_internal_with_an_opaque_id(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def script(request: GenerationRequest, deliver: Deliver) -> None:
        raise KeyError(request.prompt)

    error = status_of(ScriptedEngine(script), settings)

    details = error.details() or ""
    assert error.code() is grpc.StatusCode.INTERNAL
    assert details.startswith("The cloud failed; error ")
    error_id = details.removesuffix(".").rsplit(" ", 1)[-1]
    assert error_id in caplog.text
    assert "KeyError" in caplog.text
    assert CANARY not in details + caplog.text


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("status", ["RESOURCE_EXHAUSTED", "UNAVAILABLE", "INTERNAL"])
def test_a_typed_error_keeps_its_status(settings: Settings, status: str, late: bool) -> None:
    def script(request: GenerationRequest, deliver: Deliver) -> None:
        error = GenerationError("what to do", status=status)
        if not late:
            raise error
        deliver(TextPiece(text="begun"))
        deliver(error)

    error = status_of(ScriptedEngine(script), settings)
    assert (error.code().name, error.details()) == (status, "what to do")


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xff\xff garbage",
        b"\x1a\x02\xc3\x28",  # field 3, prompt: two bytes that are no UTF-8
        b"",  # all fields missing
        pb.GenerateRequest(
            request_id="r", site_id="s", prompt=CANARY, max_new_tokens=0
        ).SerializeToString(),
    ],
)
def test_malformed_requests_are_refused_without_quoting(settings: Settings, data: bytes) -> None:
    def never(request: GenerationRequest, deliver: Deliver) -> None:
        raise AssertionError("reached the engine")

    error = status_of(ScriptedEngine(never), settings, data)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert CANARY not in (error.details() or "")


def test_a_huge_prompt_and_a_service_that_is_not_ready(settings: Settings) -> None:
    huge = pb.GenerateRequest(request_id="r", site_id="s", prompt="x" * 100_000)
    error = status_of(ScriptedEngine(lambda *_: None), settings, huge.SerializeToString())
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert status_of(None, settings).code() is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_a_caller_who_leaves_frees_the_engine(settings: Settings, how: str) -> None:
    engine = ScriptedEngine(lambda request, deliver: deliver(TextPiece(text="begun")))

    async def call() -> None:
        async with listening(engine, settings) as channel:
            stub = pb_grpc.GenerationServiceStub(channel)
            stream = stub.Generate(
                request_to_wire(REQUEST), timeout=0.3 if how == "deadline" else None
            )
            await stream.read()
            if how == "cancel":
                stream.cancel()
            assert await asyncio.to_thread(engine.cancelled.wait, 30)

    asyncio.run(call())


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:50071", "192.168.0.7:1", "127.0.0.1:x"])
def test_without_keys_only_this_machine_may_be_listened_on(tmp_path: Path, address: str) -> None:
    settings = load(
        [
            f"service.address='{address}'",
            "service.http=none",
            f"var={tmp_path}",
            f"keys={tmp_path}/pki",
        ]
    )
    with pytest.raises(SettingsError, match=r"service\.address"):
        asyncio.run(_serve(settings, lambda *_: pytest.fail("loaded a model")))


def test_a_taken_port_is_said_at_once(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = load([f"service.address={address}", "service.http=none", f"var={tmp_path}"])
        with pytest.raises(SettingsError, match="cannot be listened on"):
            asyncio.run(_serve(settings, lambda *_: pytest.fail("loaded a model")))


def test_a_dead_engine_ends_the_service(settings: Settings) -> None:
    dead = ScriptedEngine(lambda *_: None)
    dead.alive = False
    with pytest.raises(GenerationError, match="thread has ended"):
        asyncio.run(_serve(settings, lambda *_: dead))
    assert not list(settings.run_dir.iterdir())  # the address is withdrawn


def test_start_and_drain_step_by_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    settings = load(
        [f"service.address={address}", "service.http=none", f"var={tmp_path}", "service.drain_s=30"]
    )
    loaded = threading.Event()
    held: list[Deliver] = []
    engine = ScriptedEngine(lambda request, deliver: held.append(deliver))

    def open_engine(*_: object) -> ScriptedEngine:
        assert loaded.wait(30)
        return engine

    async def walk() -> None:
        serving = asyncio.ensure_future(_serve(settings, open_engine))
        async with grpc.aio.insecure_channel(address) as channel:
            stub = pb_grpc.GenerationServiceStub(channel)
            health = health_pb2_grpc.HealthStub(channel)

            async def status() -> int:
                question = health_pb2.HealthCheckRequest()
                answer = await health.Check(question, wait_for_ready=True, timeout=30)
                return int(answer.status)

            async def refused() -> str:
                with pytest.raises(grpc.aio.AioRpcError) as failed:
                    await read_all(stub.Generate(request_to_wire(REQUEST), timeout=30))
                return failed.value.code().name

            # Loading: there, but not serving.
            assert await status() == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await refused() == "UNAVAILABLE"
            assert "netgpt.v1" not in capsys.readouterr().out

            # Ready.
            loaded.set()
            while await status() != health_pb2.HealthCheckResponse.SERVING:
                await asyncio.sleep(0.01)
            running = stub.Generate(request_to_wire(REQUEST), timeout=30)
            assert (await running.read()).WhichOneof("event") == "started"
            assert capsys.readouterr().out == f"netgpt.v1 on {address}\n"

            # Draining: new calls are refused while the running one ends in its own time.
            os.kill(os.getpid(), signal.SIGTERM)
            while settings.run_dir.joinpath("service.address").exists():
                await asyncio.sleep(0.01)
            assert await refused() == "UNAVAILABLE"
            assert engine.alive
            held[0](REPLY)
            assert (await running.read()).WhichOneof("event") == "finished"
            assert not await running.read()  # EOF
        await asyncio.wait_for(serving, timeout=30)
        assert not engine.alive

    asyncio.run(walk())
