"""Everything somebody may send to both ports. After each, an ordinary request is answered.

One real service for all of them: what one of them broke, the next would see.
"""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx
import pytest

from fl.generation import GenerationRequest
from fl.wire.codec import request_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from tests.running_service import running_service
from tests.server.test_http import Running, started

CANARY = "the orchard behind the chapel"
METHOD = "/netgpt.v1.GenerationService/Generate"
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def service(tiny_cloud: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    var = tmp_path_factory.mktemp("hostile")
    more = ("engine.batch=2", "service.queue=40")
    with running_service(tiny_cloud, var, *more) as (process, address):
        running = started(process, address, var)
        yield running
        assert process.poll() is None
        log = (var / "service.log").read_text()
        assert CANARY not in log
        figures = httpx.get(f"{running.url}/metrics").text
        assert CANARY not in figures
        for name in ("in_flight", "running", "waiting", "waiting_tokens", "cache_tokens"):
            assert f"netgpt_cloud_{name} 0.0\n" in figures  # nothing leaked


def message(**fields: Any) -> bytes:
    wanted = {"request_id": "r", "site_id": "s", "prompt": CANARY, "max_new_tokens": 4}
    return pb.GenerateRequest(**{**wanted, **fields}).SerializeToString()


def chat(prompt: Any = CANARY, **fields: Any) -> bytes:
    body = {"model": "netgpt-cloud", "messages": [{"role": "user", "content": prompt}]}
    return json.dumps({**body, "max_tokens": 4, **fields}).encode()


def ask_grpc(service: Running, data: bytes, timeout: float = 60) -> str:
    """OK, or the status; bytes go as they are."""
    with grpc.insecure_channel(service.grpc) as channel:
        try:
            kinds = [
                pb.GenerateResponse.FromString(each).WhichOneof("event")
                for each in channel.unary_stream(METHOD)(data, timeout=timeout)
            ]
        except grpc.RpcError as error:
            return "quoted" if CANARY in (error.details() or "") else str(error.code().name)
        assert (kinds[0], kinds[-1]) == ("started", "finished")
        return "OK"


def ask_http(service: Running, data: bytes) -> int:
    headers = {"content-type": "application/json"}
    answer = httpx.post(service.url + CHAT, content=data, headers=headers, timeout=60)
    if answer.status_code != 200:
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert CANARY not in answer.text
    return answer.status_code


def assert_well(service: Running) -> None:
    """An ordinary request on both ports, greedily: always the same answer."""
    assert ask_grpc(service, message()) == "OK"
    assert ask_http(service, chat()) == 200


@pytest.mark.parametrize(
    ("case", "data", "expected"),
    [
        ("empty message", b"", "INVALID_ARGUMENT"),
        ("garbage", b"\xff\xff\xff garbage", "INVALID_ARGUMENT"),
        ("invalid UTF-8", b"\x1a\x02\xc3\x28", "INVALID_ARGUMENT"),
        ("empty prompt", message(prompt=""), "INVALID_ARGUMENT"),
        ("blank prompt", message(prompt=" \n"), "INVALID_ARGUMENT"),
        ("oversize", message(prompt="x" * 5_000_000), "RESOURCE_EXHAUSTED"),
        ("too long", message(prompt="word " * 500), "INVALID_ARGUMENT"),
        ("NUL", message(prompt="a\0b"), "OK"),
        ("special tokens only", message(prompt="<|endoftext|>" * 3), "OK"),
        ("right to left", message(prompt="شاي من فضلك \u202e olleh"), "OK"),
        ("combining marks", message(prompt="e" + "\u0301" * 40), "OK"),
        ("max_new 0", message(max_new_tokens=0), "INVALID_ARGUMENT"),
        ("max_new negative", message(max_new_tokens=-5), "INVALID_ARGUMENT"),
        ("max_new huge", message(max_new_tokens=2**31 - 1), "INVALID_ARGUMENT"),
        (
            "max_new unset",
            pb.GenerateRequest(request_id="r", site_id="s", prompt=CANARY).SerializeToString(),
            "OK",
        ),
        ("temperature NaN", message(temperature=float("nan")), "INVALID_ARGUMENT"),
        ("temperature inf", message(temperature=float("inf")), "INVALID_ARGUMENT"),
        ("temperature negative", message(temperature=-1.0), "INVALID_ARGUMENT"),
        ("temperature tiny", message(temperature=1e-300), "OK"),
        ("top_p 0", message(top_p=0.0), "INVALID_ARGUMENT"),
        ("top_p NaN", message(top_p=float("nan")), "INVALID_ARGUMENT"),
        ("stops", message(stop=["x"] * 9), "INVALID_ARGUMENT"),
        ("empty stop", message(stop=[""]), "INVALID_ARGUMENT"),
        (
            "history of nobody",
            message(history=[{"role": "god", "content": "x"}]),
            "INVALID_ARGUMENT",
        ),
        ("site's name", message(site_id="../x"), "INVALID_ARGUMENT"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_over_grpc(service: Running, case: str, data: bytes, expected: str) -> None:
    assert ask_grpc(service, data) == expected
    assert_well(service)


@pytest.mark.parametrize(
    ("case", "data", "expected"),
    [
        ("empty body", b"", 400),
        ("invalid UTF-8", b'{"model": "\xc3\x28"}', 400),
        ("deep", b"[" * 50_000, 400),
        ("oversize", chat("x" * 200_000), 413),
        ("too long", chat("word " * 500), 400),
        ("empty prompt", chat(""), 400),
        ("NUL", chat("a\0b"), 200),
        ("lone surrogate", chat("a\ud800"), 400),
        ("special tokens only", chat("<|endoftext|>" * 3), 200),
        ("right to left", chat("شاي من فضلك"), 200),
        ("max_tokens 0", chat(max_tokens=0), 400),
        ("max_tokens negative", chat(max_tokens=-5), 400),
        ("max_tokens huge", chat(max_tokens=2**31 - 1), 400),
        ("temperature NaN", chat(temperature=float("nan")), 400),
        ("temperature negative", chat(temperature=-1), 400),
        ("unknown model", chat(model="../../etc"), 404),
        ("no model", chat(model=None), 400),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_over_http(service: Running, case: str, data: bytes, expected: int) -> None:
    assert ask_http(service, data) == expected
    assert_well(service)


def test_the_same_id_twice_at_a_time(service: Running) -> None:
    with ThreadPoolExecutor(2) as pool:
        told = list(pool.map(lambda _: ask_grpc(service, message(max_new_tokens=60)), range(2)))
    assert told == ["OK", "OK"]
    assert_well(service)


def test_a_hundred_at_once(service: Running) -> None:
    """More than the queue holds: each is answered or refused at once."""
    with ThreadPoolExecutor(100) as pool:
        on_grpc = pool.map(lambda _: ask_grpc(service, message(max_new_tokens=64)), range(50))
        on_http = pool.map(lambda _: ask_http(service, chat(max_tokens=64)), range(50))
        told = [*on_grpc, *on_http]
    assert set(told) <= {"OK", "RESOURCE_EXHAUSTED", 200, 429}
    assert {"OK", 200} & set(told)
    assert_well(service)


def test_a_deadline_shorter_than_the_queue(service: Running) -> None:
    with ThreadPoolExecutor(20) as pool:
        long = [pool.submit(ask_grpc, service, message(max_new_tokens=128)) for _ in range(20)]
        late = ask_grpc(service, message(max_new_tokens=128), timeout=0.02)
        assert {each.result() for each in long} == {"OK"}
    assert late == "DEADLINE_EXCEEDED"
    assert_well(service)


def test_a_slow_reader_holds_nobody_up(service: Running) -> None:
    url = urlsplit(service.url)
    with socket.create_connection((str(url.hostname), url.port or 0)) as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        data = chat(max_tokens=128, stream=True)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        slow.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
        assert slow.recv(1)
        for _ in range(3):
            assert_well(service)
    assert_well(service)


@pytest.mark.parametrize("after_first", [False, True])
def test_callers_who_leave(service: Running, after_first: bool) -> None:
    """Ten leave on each port; their rows and their places in the queue are free again."""

    async def leave_grpc(channel: grpc.aio.Channel) -> None:
        request = GenerationRequest(request_id="r", site_id="s", prompt=CANARY, max_new_tokens=128)
        call = pb_grpc.GenerationServiceStub(channel).Generate(request_to_wire(request))
        if after_first:
            await call.read()
            await call.read()
        else:
            await asyncio.sleep(0.001)
        call.cancel()

    async def leave_all() -> None:
        async with grpc.aio.insecure_channel(service.grpc) as channel:
            await asyncio.gather(*(leave_grpc(channel) for _ in range(10)))

    asyncio.run(leave_all())
    url = urlsplit(service.url)
    for _ in range(10):
        with socket.create_connection((str(url.hostname), url.port or 0)) as rude:
            data = chat(max_tokens=128, stream=after_first)
            head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            rude.sendall(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            if after_first:
                assert rude.recv(100)
    eventually(lambda: "netgpt_cloud_in_flight 0.0\n" in figures(service))
    assert_well(service)


def figures(service: Running) -> str:
    return httpx.get(f"{service.url}/metrics").text


def eventually(holds: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
