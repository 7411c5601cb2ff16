"""The embedded engine's life: admission, cancellation, failure, closing, a swap of the model."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import pytest

from fl.errors import GenerationError
from fl.generation import GenerationRequest, TextPiece
from server.generation.embedded import EmbeddedEngine
from server.generation.engine import Load
from server.generation.loading import LanguageModel, load_language_model
from tests.server.generation.engine_cases import (
    SETTINGS,
    GatedLlama,
    Inbox,
    ask_all,
    new_engine,
    oracle,
    wanted,
)
from tests.tiny_models import make_tiny_cloud

CANARY = "a prompt quoted by a library"
IDLE = Load(running=0, waiting=0, waiting_tokens=0, cache_tokens=0, cache_limit=1600)


@pytest.fixture(scope="module")
def model(tiny_cloud: Path) -> LanguageModel:
    return load_language_model(tiny_cloud)


@pytest.fixture
def engine(model: LanguageModel) -> Iterator[EmbeddedEngine]:
    engine = new_engine(model)
    yield engine
    engine.close()


@pytest.fixture
def gated(model: LanguageModel) -> Iterator[tuple[EmbeddedEngine, GatedLlama]]:
    gate = GatedLlama(model.network)
    engine = new_engine(
        replace(model, network=cast(Any, gate)), service=replace(SETTINGS.service, queue=3)
    )
    yield engine, gate
    gate.allowed.release(10_000)
    engine.close()


def test_requests_join_and_leave_at_any_step(
    gated: tuple[EmbeddedEngine, GatedLlama], model: LanguageModel, tiny_cloud: Path
) -> None:
    engine, gate = gated
    first, second = Inbox(), Inbox()
    engine.submit(wanted("x", 4), first.events.put)
    for _ in range(3):  # the prompt and two tokens
        assert gate.entered.acquire(timeout=60)
        gate.allowed.release()
    assert gate.entered.acquire(timeout=60)
    engine.submit(wanted("tea?", 5), second.events.put)  # while the fourth step runs
    gate.allowed.release(10_000)

    for prompt, length, inbox in (("x", 4, first), ("tea?", 5, second)):
        text, reply = inbox.end()
        ids = oracle(tiny_cloud, model, prompt, length)
        assert text == reply.text == model.tokens.decode(ids).lstrip()
        assert reply.completion_tokens == len(ids)
    x, tea = (len(model.tokens.prompt_ids(wanted(prompt))) for prompt in ("x", "tea?"))
    alone = [(0, x), (1, 0), (1, 0), (1, 0)]
    assert gate.steps == [*alone, (0, tea), (1, 0), (1, 0), (1, 0), (1, 0)]


def test_a_prompt_is_read_beside_answers_being_written(
    gated: tuple[EmbeddedEngine, GatedLlama], model: LanguageModel, tiny_cloud: Path
) -> None:
    engine, gate = gated
    long = "word " * 11
    tokens = len(model.tokens.prompt_ids(wanted(long)))
    assert 48 < tokens <= 72  # three steps of engine.step_tokens
    first, second = Inbox(), Inbox()
    engine.submit(wanted("x", 8), first.events.put)
    assert gate.entered.acquire(timeout=60)
    engine.submit(wanted(long, 6), second.events.put)
    gate.allowed.release(10_000)

    assert [inbox.end()[0] for inbox in (first, second)] == [
        model.tokens.decode(oracle(tiny_cloud, model, prompt, length)).lstrip()
        for prompt, length in (("x", 8), (long, 6))
    ]
    assert gate.steps[1:5] == [(1, 24), (1, 24), (1, tokens - 48), (2, 0)]


def test_a_full_queue_refuses_at_once(gated: tuple[EmbeddedEngine, GatedLlama]) -> None:
    engine, gate = gated
    inboxes = [Inbox() for _ in range(3)]
    for inbox in inboxes:
        engine.submit(wanted(new_tokens=2), inbox.events.put)

    with pytest.raises(GenerationError, match=r"service\.queue allows 3") as refused:
        engine.submit(wanted(), Inbox().events.put)

    assert refused.value.status == "RESOURCE_EXHAUSTED"
    gate.allowed.release(10_000)
    assert [inbox.end()[1].finish_reason for inbox in inboxes] == ["length"] * 3
    engine.submit(wanted(new_tokens=1), (later := Inbox()).events.put)
    assert later.end()[1].finish_reason == "length"  # room again


def test_tokens_that_wait_are_bounded_too(model: LanguageModel) -> None:
    gate = GatedLlama(model.network)
    engine = new_engine(
        replace(model, network=cast(Any, gate)),
        engine=replace(SETTINGS.engine, batch=1),
        service=replace(SETTINGS.service, queue_tokens=30),
    )
    one = len(model.tokens.prompt_ids(wanted("x")))
    assert 2 * one <= 30 < 3 * one
    inboxes = [Inbox() for _ in range(3)]
    engine.submit(wanted("x", 2), inboxes[0].events.put)
    assert gate.entered.acquire(timeout=60)  # it runs; the next two wait
    for inbox in inboxes[1:]:
        engine.submit(wanted("x", 2), inbox.events.put)
    assert engine.load == Load(
        running=1, waiting=2, waiting_tokens=2 * one, cache_tokens=1600, cache_limit=1600
    )

    with pytest.raises(GenerationError, match=r"service\.queue_tokens allows 30") as refused:
        engine.submit(wanted("x", 2), Inbox().events.put)

    assert refused.value.status == "RESOURCE_EXHAUSTED"
    gate.allowed.release(10_000)
    assert [inbox.end()[1].completion_tokens for inbox in inboxes] == [2, 2, 2]
    assert engine.load == IDLE
    engine.close()


def test_cancellation_is_noticed_within_a_step(gated: tuple[EmbeddedEngine, GatedLlama]) -> None:
    engine, gate = gated
    running, waiting = Inbox(), Inbox()
    run_ticket = engine.submit(wanted(new_tokens=60), running.events.put)
    assert gate.entered.acquire(timeout=60)
    wait_ticket = engine.submit(wanted(new_tokens=60), waiting.events.put)

    wait_ticket.cancel()
    _, waited = waiting.end()  # at once: the model stands still
    run_ticket.cancel()
    gate.allowed.release(1)  # exactly the step it is in
    _, ran = running.end()

    assert (waited.finish_reason, waited.completion_tokens) == ("cancelled", 0)
    assert (ran.finish_reason, ran.completion_tokens) == ("cancelled", 1)
    run_ticket.cancel()  # safe to repeat
    assert engine.load == IDLE


def test_a_failing_step_ends_its_own_and_quotes_nothing(
    gated: tuple[EmbeddedEngine, GatedLlama], caplog: pytest.LogCaptureFixture
) -> None:
    engine, gate = gated
    gate.error = RuntimeError(CANARY)
    gate.allowed.release(10_000)
    engine.submit(wanted(), (unlucky := Inbox()).events.put)

    with pytest.raises(GenerationError) as failed:
        unlucky.end()
    engine.submit(wanted(new_tokens=3), (next_one := Inbox()).events.put)

    assert failed.value.status == "INTERNAL"
    assert CANARY not in str(failed.value) + caplog.text
    assert "RuntimeError" in caplog.text
    assert str(failed.value).split()[-1].rstrip(".") in caplog.text  # its id
    assert next_one.end()[1].completion_tokens == 3
    assert engine.alive


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (wanted("word " * 200), "the limit is 120"),
        (wanted("w" * 20_000), "the limit is 120 tokens"),
        (wanted(new_tokens=65), "at most 64"),
        (wanted("", plain=True), "no token"),
    ],
)
def test_what_cannot_be_done_is_refused(
    engine: EmbeddedEngine, request_: GenerationRequest, expected: str
) -> None:
    with pytest.raises(GenerationError, match=expected) as refused:
        engine.submit(request_, Inbox().events.put)
    assert refused.value.status == "INVALID_ARGUMENT"


def test_prompt_and_answer_must_fit_positions_and_cache(model: LanguageModel) -> None:
    service = replace(SETTINGS.service, max_prompt_tokens=400, max_new_tokens=400)
    small = replace(SETTINGS.engine, cache_tokens=60)
    for engine in (new_engine(model, service=service), new_engine(model, engine=small)):
        for _ in range(service.queue + 1):  # a refused request does not stay counted
            with pytest.raises(GenerationError, match="can be written after a prompt of"):
                engine.submit(wanted("a caf\u00e9", 250), Inbox().events.put)
        # as many as fit, where nobody says how many
        limit = 256 if engine.load.cache_limit == 1600 else 61
        [(_, reply)] = ask_all(engine, [replace(wanted("x"), max_new_tokens=None)])
        assert reply.prompt_tokens + reply.completion_tokens in (limit, reply.prompt_tokens + 64)
        engine.close()


def test_closing_cancels_refuses_and_ends(gated: tuple[EmbeddedEngine, GatedLlama]) -> None:
    engine, gate = gated
    running, waiting = Inbox(), Inbox()
    engine.submit(wanted(), running.events.put)
    assert gate.entered.acquire(timeout=60)
    engine.submit(wanted(), waiting.events.put)
    ended: list[str] = []
    engine.on_close(lambda: ended.append("also"))

    closing = threading.Thread(target=engine.close)
    closing.start()
    gate.allowed.release(10_000)
    closing.join(timeout=60)

    assert not engine.alive
    assert ended == ["also"]
    assert running.end()[1].finish_reason == "cancelled"
    with pytest.raises(GenerationError) as refused:
        waiting.end()
    with pytest.raises(GenerationError) as late:
        engine.submit(wanted(), Inbox().events.put)
    assert refused.value.status == late.value.status == "UNAVAILABLE"


def test_pieces_arrive_while_the_answer_grows(gated: tuple[EmbeddedEngine, GatedLlama]) -> None:
    engine, gate = gated
    inbox = Inbox()
    engine.submit(wanted(new_tokens=30), inbox.events.put)
    gate.allowed.release(10)

    first = inbox.events.get(timeout=60)

    assert isinstance(first, TextPiece)
    gate.allowed.release(10_000)
    text, reply = inbox.end()
    assert first.text + text == reply.text


def test_a_swap_drops_no_stream(
    gated: tuple[EmbeddedEngine, GatedLlama],
    model: LanguageModel,
    tiny_cloud: Path,
    tmp_path: Path,
) -> None:
    engine, gate = gated
    other_folder = make_tiny_cloud(tmp_path / "other", seed=5)
    other = replace(load_language_model(other_folder), release="cloud/1")
    old, new = Inbox(), Inbox()
    old_ticket = engine.submit(wanted(new_tokens=20), old.events.put)
    for _ in range(3):
        assert gate.entered.acquire(timeout=60)
        gate.allowed.release()

    engine.swap(other)
    new_ticket = engine.submit(wanted(new_tokens=20), new.events.put)
    gate.allowed.release(10_000)

    told = [inbox.end() for inbox in (old, new)]
    assert (
        (old_ticket.release, new_ticket.release)
        == ("base", "cloud/1")
        == tuple(reply.release for _, reply in told)
    )
    assert engine.release == "cloud/1"
    assert [text for text, _ in told] == [
        m.tokens.decode(oracle(folder, m, "a caf\u00e9", 20)).lstrip()
        for folder, m in ((tiny_cloud, model), (other_folder, other))
    ]
    assert told[0][0] != told[1][0]
    assert engine.load == IDLE  # nothing is kept of the old one


def test_a_larger_model_is_emulated_by_its_steps(model: LanguageModel) -> None:
    settings = replace(SETTINGS.engine, least_step_ms=20, least_row_ms=5)
    engine, inbox = EmbeddedEngine(model, settings, SETTINGS.service), Inbox()
    try:
        began = perf_counter()
        engine.submit(wanted("tea?", 5), inbox.events.put)
        _, reply = inbox.end()
        assert reply.completion_tokens > 1
        # Its first token needs no waiting, each later one a step of 25 ms.
        assert perf_counter() - began >= 0.025 * (reply.completion_tokens - 1)
    finally:
        engine.close()
