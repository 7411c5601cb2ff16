"""Both ports of one service with a scripted engine: drain, errors, refusals, keys, no model."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from fl.errors import GenerationError
from fl.generation import GenerationRequest, TextPiece
from fl.settings import Settings, load
from fl.wire.credentials import channel_credentials
from fl.wire.netgpt.v1 import generation_pb2 as pb
from server.generation.engine import Deliver
from server.keys import make_cloud_keys, make_site_keys
from server.service import _serve
from tests.server.test_service import CANARY, METHOD, REPLY, ScriptedEngine

KEY = "sk-anna-0123456789"
CHAT = "/v1/chat/completions"
BODY = {"model": "netgpt-cloud", "messages": [{"role": "user", "content": CANARY}]}


def settings(folder: Path, *more: str) -> Settings:
    ports = ("service.address=127.0.0.1:0", "service.http=127.0.0.1:0")
    return load([*ports, f"var={folder}", "service.drain_s=30", *more])


@asynccontextmanager
async def serving(
    wanted: Settings, engine: ScriptedEngine | None
) -> AsyncIterator[tuple[httpx.AsyncClient, str]]:
    """A client of the HTTP port and the address of the other; ends the service as SIGTERM does."""
    service = asyncio.ensure_future(_serve(wanted, None if engine is None else lambda *_: engine))
    file = wanted.run_dir / "service.http"
    while not file.exists():
        assert not service.done(), service
        await asyncio.sleep(0.01)
    address = (wanted.run_dir / "service.address").read_text()
    try:
        async with httpx.AsyncClient(base_url=file.read_text(), timeout=30) as http:
            yield http, address
    finally:
        if file.exists():
            os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(service, timeout=60)


async def status_of(
    address: str,
    data: bytes,
    *,
    key: str | None = None,
    credentials: grpc.ChannelCredentials | None = None,
) -> str:
    """Send bytes to Generate; the status they end with."""
    channel: Any = (
        grpc.aio.insecure_channel(address)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials)
    )
    shown = None if key is None else [("authorization", f"Bearer {key}")]
    async with channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            [each async for each in channel.unary_stream(METHOD)(data, metadata=shown, timeout=30)]
    return str(failed.value.code().name)


def message(**fields: Any) -> bytes:
    wanted = {"request_id": "r", "site_id": "oslo", "prompt": CANARY, "max_new_tokens": 1}
    return pb.GenerateRequest(**{**wanted, **fields}).SerializeToString()


def full(request: GenerationRequest, deliver: Deliver) -> None:
    raise GenerationError("full", status="RESOURCE_EXHAUSTED")


def reached(request: GenerationRequest, deliver: Deliver) -> None:
    """An engine's script that tells whoever gets as far as this."""
    raise GenerationError("reached", status="FAILED_PRECONDITION")


def key_file(folder: Path, line: str) -> Path:
    file = folder / "api_keys"
    file.write_text(line)
    file.chmod(0o600)
    return file


def test_a_drain_lets_a_stream_end_and_refuses_the_next_with_503(tmp_path: Path) -> None:
    held: list[Deliver] = []
    engine = ScriptedEngine(lambda request, deliver: held.append(deliver))
    wanted = settings(tmp_path)

    async def walk() -> None:
        async with (
            serving(wanted, engine) as (http, _),
            http.stream("POST", CHAT, json={**BODY, "stream": True}) as running,
        ):
            while not held:
                await asyncio.sleep(0.01)
            held[0](TextPiece(text="ye"))
            lines = running.aiter_lines()
            assert json.loads((await anext(lines)).removeprefix("data: "))["choices"]

            os.kill(os.getpid(), signal.SIGTERM)
            while (await http.get("/health")).status_code == 200:
                await asyncio.sleep(0.01)
            late = await http.post(CHAT, json=BODY)
            assert (late.status_code, late.headers["retry-after"]) == (503, "1")
            assert late.json()["error"]["code"] == "unavailable"
            assert engine.alive

            held[0](REPLY)
            rest = [line async for line in lines if line]
            assert json.loads(rest[-2].removeprefix("data: "))["choices"][0]["finish_reason"] == (
                "stop"
            )
            assert rest[-1] == "data: [DONE]"
        assert not engine.alive

    asyncio.run(walk())


def test_an_unforeseen_exception_is_500_with_an_id_that_is_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def script(request: GenerationRequest, deliver: Deliver) -> None:
        raise KeyError(request.prompt)

    async def call() -> httpx.Response:
        async with serving(settings(tmp_path), ScriptedEngine(script)) as (http, _):
            return await http.post(CHAT, json=BODY)

    answer = asyncio.run(call())
    message = answer.json()["error"]["message"]
    assert answer.status_code == 500
    assert message.removesuffix(".").rsplit(" ", 1)[-1] in caplog.text
    assert "KeyError" in caplog.text
    assert CANARY not in answer.text + caplog.text


def test_refusals_of_both_ports_are_counted_once_and_by_reason(tmp_path: Path) -> None:
    """Also those that the engine never sees."""

    async def walk(wanted: Settings, ask: Callable[..., Any]) -> str:
        async with serving(wanted, ScriptedEngine(full)) as (http, address):
            await ask(http, address)
            figures = (await http.get("/metrics")).text
        return "".join(line + "\n" for line in figures.splitlines() if "_refusals_total{" in line)

    async def open_to_all(http: httpx.AsyncClient, address: str) -> None:
        assert await status_of(address, message()) == "RESOURCE_EXHAUSTED"
        assert (await http.post(CHAT, json=BODY)).status_code == 429
        assert await status_of(address, b"\xff garbage") == "INVALID_ARGUMENT"
        assert await status_of(address, message(max_new_tokens=0)) == "INVALID_ARGUMENT"
        assert (await http.post(CHAT, json={**BODY, "n": 2})).status_code == 400
        assert (await http.post(CHAT, json={**BODY, "model": "x"})).status_code == 404

    async def with_keys(http: httpx.AsyncClient, address: str) -> None:
        assert await status_of(address, message()) == "UNAUTHENTICATED"
        assert (await http.post(CHAT, json=BODY)).status_code == 401

    counted = asyncio.run(walk(settings(tmp_path / "a"), open_to_all))
    assert counted == (
        'netgpt_cloud_refusals_total{reason="resource_exhausted"} 2.0\n'
        'netgpt_cloud_refusals_total{reason="invalid_argument"} 3.0\n'
        'netgpt_cloud_refusals_total{reason="not_found"} 1.0\n'
    )
    locked = settings(tmp_path / "b", f"service.api_keys={key_file(tmp_path, f'anna {KEY}')}")
    counted = asyncio.run(walk(locked, with_keys))
    assert counted == 'netgpt_cloud_refusals_total{reason="unauthenticated"} 2.0\n'


def test_keys_of_grpc_are_asked_of_who_shows_no_certificate(tmp_path: Path) -> None:
    keys = tmp_path / "pki"
    make_cloud_keys(keys, hosts=["127.0.0.1"])
    oslo = channel_credentials(make_site_keys(keys, "oslo"))
    more = (f"service.api_keys={key_file(tmp_path, f'anna {KEY} 2')}", f"keys={keys}")

    async def here(folder: Path, *also: str) -> list[str]:
        async with serving(settings(folder, *more, *also), ScriptedEngine(reached)) as (_, address):
            address = address.replace("0.0.0.0", "127.0.0.1")
            return [await status_of(address, message(), key=key) for key in ("x", KEY, KEY, KEY)]

    async def elsewhere(folder: Path) -> str:
        wanted = settings(folder, *more, "service.address=0.0.0.0:0")
        async with serving(wanted, ScriptedEngine(reached)) as (_, address):
            address = address.replace("0.0.0.0", "127.0.0.1")
            assert await status_of(address, message(), key=KEY) == "UNAVAILABLE"  # no TLS
            return await status_of(address, message(), credentials=oslo)

    through = "FAILED_PRECONDITION"
    told = ["UNAUTHENTICATED", through, through, "RESOURCE_EXHAUSTED"]  # the key's two are used up
    assert asyncio.run(here(tmp_path / "a")) == told
    assert asyncio.run(elsewhere(tmp_path / "b")) == through
    plain = ("service.insecure=true", "service.address=0.0.0.0:0")  # keys are asked for even so
    assert asyncio.run(here(tmp_path / "c", *plain)) == told


def test_a_cloud_without_a_model_is_well_and_has_none(tmp_path: Path) -> None:
    async def walk() -> list[tuple[int, str]]:
        async with serving(settings(tmp_path, "cloud.model=none"), None) as (http, _):
            answers = [await http.get(path) for path in ("/health", "/metrics", "/v1/models")]
            answers.append(await http.post(CHAT, json=BODY))
            return [(answer.status_code, answer.text) for answer in answers]

    healthy, figures, models, asked = asyncio.run(walk())
    assert [each[0] for each in (healthy, figures, models, asked)] == [200, 200, 200, 404]
    assert json.loads(models[1])["data"] == []
    assert json.loads(asked[1])["error"]["code"] == "model_not_found"  # no use to try again
