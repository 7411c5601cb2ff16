"""Every mode through the corridor: what leaves, what the site writes with, what the ledger says.

Model and cloud are those of test_corridor: they do as the test says.
"""

import asyncio
import errno
from concurrent.futures import CancelledError, Future
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import pytest

from clients.asking.ask import Answered, Leaving, Wish
from clients.edge_service import request_ledger
from clients.edge_service.corridor import Enrichment
from clients.ledger.entry import Entry
from clients.ledger.journal import ledger_file
from clients.writing import Written
from fl.adapter import Adapter
from fl.errors import GenerationError
from fl.generation import Reply, TextPiece
from fl.openai_api.calls import call_from_body
from tests.clients.edge_service.test_corridor import REPLY, SHORT, SITE, World
from tests.clients.edge_service.test_http_backend import backend_of, events_of

ENRICHED, OWN = "a table for two", "At the mill, of course."


@pytest.fixture
def world(tmp_path: Path) -> World:
    return writing(World(tmp_path, TextPiece(text="Yes."), REPLY))


def writing(world: World) -> World:
    """Both of the model's texts are there."""
    world.model.future.set_result(Written(text=ENRICHED, nats=(0.1,), cpu_seconds=2.0))
    world.model.own.set_result(Written(text=OWN, nats=(0.1, 0.4), cpu_seconds=3.0))
    return world


def kinds(world: World, mode: str) -> list[str]:
    return [type(event).__name__ for event in world.ask(mode)]


def one_entry(world: World) -> Entry:
    [entry] = world.entries
    assert "zanzibar" not in ledger_file(world.settings, SITE.id).read_text()
    return entry


def test_edge_answers_with_the_bare_base_and_nothing_leaves(world: World) -> None:
    enrichment, leaving, piece, answered = world.ask("edge")
    assert isinstance(enrichment, Enrichment)
    assert isinstance(leaving, Leaving)
    assert isinstance(answered, Answered)
    assert not world.cloud.requests
    assert (leaving.disclosed.text, piece, answered.mode) == ("", TextPiece(text=OWN), "edge")
    assert isinstance(answered.outcome, Reply)
    assert answered.outcome.model_fingerprint == "cd34"
    # enriched with the adapter in use, answered with one that adds nothing
    assert world.in_use is not None
    served, plain = world.model.adapters
    assert served is world.in_use.adapter
    assert isinstance(plain, Adapter)
    assert plain.spec.rank == 1
    assert world.model.prompts[1] == f"Request: {ENRICHED}\nAnswer:"
    assert world.model.max_new_tokens == world.settings.asking.answer_tokens
    entry = one_entry(world)
    assert (entry.wanted, entry.mode, entry.outcome) == ("edge", "edge", "stop")
    assert (entry.bytes_up, entry.private_characters, entry.cloud_release) == (0, 0, "")
    assert (entry.federation, entry.release) == ("001", 1)
    assert (entry.completion_tokens, entry.short_tokens) == (2, 2)
    assert entry.site_cpu_seconds >= 5.0  # both texts', as the model's owner told
    assert world.counted('requests_total{end="stop"}')


def test_a_wish_bounds_an_own_answer_but_never_beyond_the_settings(world: World) -> None:
    *_, answered = world.ask("edge", Wish(max_new_tokens=2, stop=("mill",)))
    assert isinstance(answered, Answered)
    assert (answered.answer, world.model.max_new_tokens) == ("At the ", 2)
    list(world.ask("edge", Wish(max_new_tokens=100_000)))
    assert world.model.max_new_tokens == world.settings.asking.answer_tokens


def test_cloud_needs_no_model_and_no_release(tmp_path: Path) -> None:
    world = World(tmp_path, TextPiece(text="Yes."), REPLY)  # its model never writes
    world.in_use = None
    assert kinds(world, "cloud") == ["Leaving", "TextPiece", "Answered"]
    assert not world.model.prompts
    [request] = world.cloud.requests
    entry = one_entry(world)
    assert (request.prompt, entry.private_characters) == (SHORT, len(SHORT))
    assert (entry.mode, entry.federation, entry.release) == ("cloud", "", 0)
    assert (entry.counted, entry.bytes_up, entry.bytes_down) == ("messages", 11, 22)
    assert (entry.enriched_tokens, entry.cloud_release) == (0, "base")


@pytest.mark.parametrize("keeps", [True, False])
def test_auto_asks_the_cloud_only_about_an_answer_it_does_not_keep(
    world: World, keeps: bool
) -> None:
    world.keeps = keeps
    _, leaving, piece, answered = world.ask("auto")
    assert isinstance(leaving, Leaving)
    assert isinstance(answered, Answered)
    assert world.learned == [answered]
    assert piece == TextPiece(text=OWN if keeps else "Yes.")
    assert [request.prompt for request in world.cloud.requests] == ([] if keeps else [ENRICHED])
    assert leaving.disclosed.text == ("" if keeps else ENRICHED)
    entry = one_entry(world)
    assert (entry.wanted, entry.mode) == ("auto", "edge" if keeps else "synergy")
    assert entry.private_characters == len(leaving.disclosed.text)
    assert entry.site_cpu_seconds >= 5.0  # the own answer was written in any case


def test_split_without_a_copy_of_the_layers_is_refused_and_names_no_path(world: World) -> None:
    with pytest.raises(GenerationError, match="first layers") as refused:
        kinds(world, "split")
    assert refused.value.status == "FAILED_PRECONDITION"
    assert str(world.settings.var_dir) not in str(refused.value)
    entry = one_entry(world)
    assert (entry.mode, entry.outcome, entry.states_bytes) == ("split", "FAILED_PRECONDITION", 0)


def test_the_mode_of_the_settings_holds_where_none_is_named(world: World) -> None:
    list(world.ask())
    assert [(entry.wanted, entry.mode) for entry in world.entries] == [("synergy", "synergy")]


def test_what_is_no_request_has_no_line(world: World) -> None:
    for mode, short in (("zanzibar lantern", "a table"), ("edge", "  "), ("cloud", "x" * 4001)):
        with pytest.raises(GenerationError) as refused:
            list(world.corridor.ask(short, Wish(), started=0, when_left=print, mode=mode))
        assert refused.value.status == "INVALID_ARGUMENT"
        assert "zanzibar" not in str(refused.value)
    assert not world.entries
    assert not world.cloud.requests


def test_a_failure_of_the_site_or_of_the_cloud_has_its_line(tmp_path: Path) -> None:
    down = GenerationError("down", status="UNAVAILABLE")
    world = World(tmp_path, TextPiece(text="Ye"), down)
    with pytest.raises(GenerationError):
        list(world.ask("synergy"))  # the model writes nothing within asking.timeout_s
    world.model.future = Future()
    writing(world)
    list(world.ask("synergy"))
    busy, failed = world.entries
    assert (busy.outcome, busy.private_characters, busy.bytes_up) == ("DEADLINE_EXCEEDED", 0, 0)
    assert busy.enrich_seconds == busy.total_seconds > 0
    assert (failed.outcome, failed.private_characters) == ("UNAVAILABLE", len(ENRICHED))
    assert (failed.bytes_up, failed.bytes_down) == (11, 22)


def test_who_leaves_has_a_line_of_what_left_till_then(world: World) -> None:
    for events_read in (1, 2, 3):  # the enrichment; what is about to leave; a piece of the answer
        events = cast(Any, world.ask("synergy"))
        for _ in range(events_read):
            next(events)
        events.close()
    assert [entry.outcome for entry in world.entries] == ["cancelled"] * 3
    assert [entry.private_characters for entry in world.entries] == [0, 0, len(ENRICHED)]
    assert [entry.bytes_up for entry in world.entries] == [0, 0, 11]
    assert len(world.cloud.requests) == world.cloud.cancelled == 1


def test_who_leaves_before_the_model_wrote_has_a_line_too(tmp_path: Path) -> None:
    world = World(tmp_path)
    with pytest.raises(CancelledError):
        list(
            world.corridor.ask(
                SHORT,
                Wish(),
                started=perf_counter(),
                when_left=lambda cancel: cancel(),
                mode="auto",
            )
        )
    entry = one_entry(world)
    assert (entry.wanted, entry.mode, entry.outcome) == ("auto", "edge", "cancelled")


def test_a_ledger_that_cannot_be_written_loses_no_answer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(request_ledger, "record", full)
    for _ in range(2):
        assert kinds(world, "cloud") == ["Leaving", "TextPiece", "Answered"]
    [line] = world.said  # once, as long as nothing changes
    assert "No space left on device" in line
    monkeypatch.undo()
    kinds(world, "cloud")
    assert len(world.entries) == 1


def test_passing_through_has_a_line_and_enriching_alone_has_none(
    world: World, tmp_path: Path
) -> None:
    def body(model: str) -> bytes:
        first = '{"role": "user", "content": "call +49 30 1234567"}'
        last = f'{{"role": "user", "content": "{SHORT}"}}'
        return f'{{"model": "{model}", "messages": [{first}, {last}]}}'.encode()

    async def walk() -> None:
        async with backend_of(world, tmp_path) as backend:
            for model in ("netgpt-edge", "netgpt-cloud"):
                *_, end = await events_of(await backend.open(call_from_body("chat", body(model))))
                assert isinstance(end, Reply)

    asyncio.run(walk())
    entry = one_entry(world)
    assert (entry.wanted, entry.mode, entry.outcome) == ("cloud", "cloud", "stop")
    [request] = world.cloud.requests
    left = [*(turn.content for turn in request.history), request.prompt]
    assert left == ["call [phone]", SHORT]
    assert entry.private_characters == sum(map(len, left))
    assert (entry.bytes_up, entry.bytes_down) == (11, 22)
