"""A thousand requests on both ports, a tenth of them given up: nothing is lost, nothing leaks."""

import asyncio
from pathlib import Path

import grpc
import httpx
import psutil

from fl.generation import GenerationRequest
from fl.wire.codec import request_to_wire
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from tests.running_service import running_service
from tests.server.test_hostile_requests import eventually, figures
from tests.server.test_http import Running, started

REQUESTS, AT_A_TIME, TOKENS = 1000, 50, 12


def test_nothing_is_lost_or_leaked(tiny_cloud: Path, tmp_path: Path) -> None:
    with running_service(tiny_cloud, tmp_path, "service.drain_s=30") as (process, address):
        service = started(process, address, tmp_path)
        watched = psutil.Process(process.pid)
        asyncio.run(_ask_all(service, AT_A_TIME))  # what it needs once, it has after this
        eventually(lambda: "netgpt_cloud_in_flight 0.0\n" in figures(service))
        before = (watched.num_threads(), watched.num_fds())

        told = asyncio.run(_ask_all(service, REQUESTS))

        given_up = told.count("gave up")
        assert given_up == REQUESTS // 10
        assert told.count("length") + told.count("stop") == REQUESTS - given_up
        eventually(lambda: "netgpt_cloud_in_flight 0.0\n" in figures(service))
        for name in ("running", "waiting", "waiting_tokens", "cache_tokens"):
            assert f"netgpt_cloud_{name} 0.0\n" in figures(service)
        eventually(lambda: watched.num_fds() <= before[1] + 3)
        assert watched.num_threads() <= before[0] + 3
        assert process.poll() is None


async def _ask_all(service: Running, count: int) -> list[str]:
    places = asyncio.Semaphore(AT_A_TIME)
    limits = httpx.Limits(max_connections=AT_A_TIME)
    async with (
        grpc.aio.insecure_channel(service.grpc) as channel,
        httpx.AsyncClient(base_url=service.url, limits=limits, timeout=120) as http,
    ):

        async def ask(number: int) -> str:
            async with places:
                leaves = number % 10 == 7
                if number // 10 % 2:  # ten to one port, ten to the other
                    return await _over_grpc(channel, number, leaves=leaves)
                return await _over_http(http, number, leaves=leaves)

        return list(await asyncio.gather(*(ask(number) for number in range(count))))


async def _over_grpc(channel: grpc.aio.Channel, number: int, *, leaves: bool) -> str:
    request = GenerationRequest(
        request_id=str(number), site_id="s", prompt=f"tea {number}", max_new_tokens=TOKENS
    )
    call = pb_grpc.GenerationServiceStub(channel).Generate(request_to_wire(request))
    async for message in call:
        if leaves:
            call.cancel()
            return "gave up"
        if message.WhichOneof("event") == "finished":
            return {1: "stop", 2: "length"}[message.finished.finish_reason]
    return "no end"


async def _over_http(http: httpx.AsyncClient, number: int, *, leaves: bool) -> str:
    body = {
        "model": "netgpt-cloud",
        "prompt": f"tea {number}",
        "max_tokens": TOKENS,
        "stream": True,
    }
    async with http.stream("POST", "/v1/completions", json=body) as answer:
        assert answer.status_code == 200
        reason = "no end"
        async for line in answer.aiter_lines():
            if leaves:
                return "gave up"
            for known in ("stop", "length"):
                if f'"finish_reason": "{known}"' in line:
                    reason = known
        return reason
