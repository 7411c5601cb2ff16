"""The threads behind the HTTP API: how many, who gives them back, what a caller leaves behind."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from clients.edge_service.http_answer import EdgeAnswer
from clients.edge_service.http_backend import MOST_CALLS, EdgeBackend, Events
from clients.edge_service.model_owner import GivenUp
from clients.writing import Written
from fl.errors import GenerationError
from fl.generation import TextPiece
from fl.openai_api.backend import ApiEvent, Extension
from fl.openai_api.calls import Call, call_from_body
from fl.settings import load
from tests.clients.edge_service.test_corridor import SITE, World

BODY = b'{"model": "netgpt", "messages": [{"role": "user", "content": "a table"}]}'
CALL: Call = call_from_body("chat", BODY)


@asynccontextmanager
async def backend_of(world: World, folder: Path) -> AsyncIterator[EdgeBackend]:
    backend = EdgeBackend(
        load([f"var={folder}"]),
        {SITE.id: world.corridor},
        fingerprint="ab12",
        channel=cast(Any, world.cloud),
    )
    try:
        yield backend
    finally:
        await asyncio.to_thread(backend.close)


async def events_of(answer: EdgeAnswer) -> list[ApiEvent]:
    return [event async for event in answer]


def test_one_call_too_many_is_refused_at_once_and_a_place_is_given_back(tmp_path: Path) -> None:
    world = World(tmp_path)
    go_on = threading.Event()
    world.model.write = cast(  # type: ignore[method-assign]
        Any, lambda *_, **__: SimpleNamespace(result=_held(go_on), cancel=go_on.set)
    )

    async def walk() -> None:
        async with backend_of(world, tmp_path) as backend:
            answers = [await backend.open(CALL) for _ in range(MOST_CALLS)]
            with pytest.raises(GenerationError) as refused:
                await backend.open(CALL)
            assert refused.value.status == "RESOURCE_EXHAUSTED"
            answers[0].cancel()  # which here lets all of them go on
            for answer in answers:
                await events_of(answer)
            await events_of(await backend.open(CALL))
        assert world.counted('refusals_total{reason="resource_exhausted"}')

    asyncio.run(walk())


def _held(go_on: threading.Event) -> Any:
    def result(timeout: float) -> str:
        assert go_on.wait(60)
        raise GivenUp("The edge service ends.")

    return result


def test_who_has_left_sends_nothing_though_the_model_wrote(tmp_path: Path) -> None:
    """A prompt that is being written cannot be cancelled any more."""
    world = World(tmp_path)
    future = world.model.future
    assert future.set_running_or_notify_cancel()

    async def walk() -> list[ApiEvent]:
        async with backend_of(world, tmp_path) as backend:
            answer = await backend.open(CALL)
            answer.cancel()
            future.set_result(Written(text="a table for two", nats=(0.1,)))
            return await events_of(answer)

    [end] = asyncio.run(walk())
    assert isinstance(end, GenerationError)
    assert end.status == "CANCELLED"
    assert not world.cloud.requests
    assert world.counted('requests_total{end="cancelled"}')


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (GivenUp("The edge service ends."), "UNAVAILABLE"),
        (GenerationError("full", status="RESOURCE_EXHAUSTED"), "RESOURCE_EXHAUSTED"),
    ],
)
def test_every_call_has_one_end(error: Exception, status: str) -> None:
    def work() -> Events:
        yield Extension(fields={"site": "elm"})
        yield TextPiece(text="a")
        raise error

    async def walk() -> list[ApiEvent]:
        answer = EdgeAnswer(lambda _: None)
        await asyncio.to_thread(answer.run, work())
        return await events_of(answer)

    *before, end = asyncio.run(walk())
    assert [type(event) for event in before] == [Extension, TextPiece]
    assert isinstance(end, GenerationError)
    assert end.status == status


def test_what_nobody_expected_is_raised_where_the_gateway_hides_it() -> None:
    def work() -> Events:
        yield TextPiece(text="a")
        raise ZeroDivisionError

    async def walk() -> None:
        answer = EdgeAnswer(lambda _: None)
        await asyncio.to_thread(answer.run, work())
        async with aclosing(cast(Any, answer.__aiter__())) as events:
            assert await anext(events) == TextPiece(text="a")
            with pytest.raises(ZeroDivisionError):
                await anext(events)

    asyncio.run(walk())
