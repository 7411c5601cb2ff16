"""The pool over workers that die, refuse, hang, and come back."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.service_metrics import ServiceMetrics
from server.generation.metered import metered
from server.generation.workers import pool as pool_module
from server.generation.workers import watch as watch_module
from server.generation.workers.placing import WorkerState
from tests.server.generation.workers.fakes import (
    ANSWER,
    OTHER,
    TEXT,
    FakeLine,
    Fate,
    Inbox,
    ask,
    new_pool,
    until,
    wanted,
)


@pytest.fixture(autouse=True)
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "LOOK_EVERY_S", 0.002)


def test_an_answer_goes_on_where_its_worker_died() -> None:
    first, second = FakeLine([Fate(dies_after=3)]), FakeLine()
    made = new_pool(first, second)

    text, reply = ask(made.pool, wanted())
    states = made.pool.workers
    made.pool.close()

    assert text == TEXT  # every character once
    assert isinstance(reply, Reply)
    assert (reply.text, reply.finish_reason) == (TEXT, "length")
    assert (reply.completion_tokens, reply.release) == (len(ANSWER), "cloud/1")
    assert [request.written for request in first.requests + second.requests] == [(), (0, 1, 2)]
    assert [state.lost for state in states] == [1, 0]
    assert made.whereabouts.closed


DEATHS = st.lists(st.integers(0, len(ANSWER) + 1), max_size=pool_module.MOST_DEATHS - 1)


@settings(max_examples=40, deadline=None)
@given(deaths=DEATHS, says_tokens=st.booleans(), most=st.integers(1, len(ANSWER)))
def test_whenever_workers_die_every_character_comes_once(
    deaths: list[int], says_tokens: bool, most: int
) -> None:
    request = wanted(most)
    undisturbed = "".join(ANSWER[:most])
    lines = FakeLine(), FakeLine()
    for number, after in enumerate(deaths):
        lines[number % 2].fates.append(Fate(dies_after=after, says_tokens=says_tokens))
    for line in lines:
        line.fates += [Fate(says_tokens=says_tokens)] * 8
    made = new_pool(*lines)
    try:
        text, reply = ask(made.pool, request)
    finally:
        made.pool.close()
    assert text == undisturbed
    assert isinstance(reply, Reply), reply
    assert reply.text == undisturbed


def test_another_text_cannot_follow_a_beginning_that_was_read() -> None:
    """A worker that says no tokens begins anew: the same text goes on, another one cannot."""
    same = FakeLine([Fate(dies_after=2, says_tokens=False)])
    made = new_pool(same, FakeLine([Fate(says_tokens=False)]))
    text, reply = ask(made.pool, wanted())
    assert (text, isinstance(reply, Reply)) == (TEXT, True)
    made.pool.close()

    other = Fate(says_tokens=False, answer=OTHER)
    lines = FakeLine([Fate(dies_after=3, says_tokens=False), other]), FakeLine([other])
    made = new_pool(*lines)  # whichever goes on: the first may be back at once
    text, error = ask(made.pool, wanted())
    made.pool.close()
    assert text == "A table"
    assert isinstance(error, GenerationError)
    assert (error.status, "broke off" in str(error)) == ("UNAVAILABLE", True)
    assert [request.written for line in lines for request in line.requests] == [(), ()]


def test_a_worker_without_room_is_left_and_a_refusal_passed_on() -> None:
    full, bad = Fate(refuses="RESOURCE_EXHAUSTED"), Fate(refuses="INVALID_ARGUMENT")
    made = new_pool(FakeLine([full, bad, full]), FakeLine([Fate(), full]))

    assert ask(made.pool, wanted())[0] == TEXT  # the second had room
    for status in ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"):
        text, error = ask(made.pool, wanted())
        assert text == ""
        assert isinstance(error, GenerationError)
        assert (error.status, str(error)) == (status, "Refused here.")
    lost = [state.lost for state in made.pool.workers]
    made.pool.close()
    assert lost == [0, 0]


def test_who_finds_nobody_waits_for_a_worker_to_come_back() -> None:
    line = FakeLine([Fate(dies_after=2)])
    made = new_pool(line)
    inbox = Inbox()
    back = threading.Event()

    def gone(event: object) -> None:
        inbox.put(event)  # type: ignore[arg-type]
        line.up = back.is_set()

    made.pool.submit(wanted(), gone)
    assert isinstance(inbox.first(), TextPiece)
    until(lambda: not made.pool.workers[0].up)
    waiting = Inbox()
    made.pool.submit(wanted(), waiting.put)  # accepted, though nobody is there
    back.set()
    line.up = True

    text, reply = inbox.end()
    assert isinstance(reply, Reply)
    assert reply.text == TEXT
    assert text == TEXT[1:]  # after the "A" that was read above
    assert waiting.end()[0] == TEXT
    made.pool.close()


def test_nobody_comes_back() -> None:
    line = FakeLine()
    made = new_pool(line, timeout_s=0.05)
    line.up = False
    text, error = ask(made.pool, wanted())
    assert isinstance(error, GenerationError)
    assert (text, error.status, "engine.timeout_s" in str(error)) == ("", "UNAVAILABLE", True)
    made.pool.close()
    with pytest.raises(GenerationError, match="shutting down"):
        made.pool.submit(wanted(), Inbox().put)


def test_a_request_that_kills_every_worker_is_given_up() -> None:
    deadly = [Fate(dies_after=1) for _ in range(8)]
    made = new_pool(FakeLine(list(deadly)), FakeLine(list(deadly)))
    _, error = ask(made.pool, wanted())
    assert isinstance(error, GenerationError)
    assert (error.status, "5 workers died" in str(error)) == ("UNAVAILABLE", True)
    assert sum(state.lost for state in made.pool.workers) == pool_module.MOST_DEATHS
    made.pool.close()


def test_cancelling_reaches_the_worker_and_frees_the_place() -> None:
    line = FakeLine([Fate(hangs=True)] * 3)
    made = new_pool(line, most=2)
    inbox = Inbox()
    ticket = made.pool.submit(wanted(), inbox.put)
    assert (ticket.release, isinstance(inbox.first(), TextPiece)) == ("cloud/1", True)
    second = Inbox()
    made.pool.submit(wanted(20), second.put)
    assert isinstance(second.first(), TextPiece)
    load, [state] = made.pool.load, made.pool.workers
    assert (load.running, load.waiting, load.waiting_tokens, load.cache_limit) == (2, 0, 5, 100)
    assert (state.running, state.outstanding_tokens) == (2, 64 - 1 + 20 - 1)
    with pytest.raises(GenerationError, match=r"service\.queue allows 2"):
        made.pool.submit(wanted(), Inbox().put)

    ticket.cancel()
    ticket.cancel()
    assert isinstance(reply := inbox.end()[1], Reply)
    assert (reply.text, reply.finish_reason, reply.completion_tokens) == ("A", "cancelled", 1)
    assert made.pool.load.running == 1
    assert made.pool.workers[0].lost == 0

    waits = Inbox()
    line.up = False
    ticket = made.pool.submit(wanted(), waits.put)
    ticket.cancel()  # while no worker is up
    assert waits.end()[1].finish_reason == "cancelled"  # type: ignore[union-attr]
    with pytest.raises(GenerationError, match="mode=split") as refused:
        made.pool.language_model()
    assert refused.value.status == "UNIMPLEMENTED"
    made.pool.close()  # ends who still runs
    assert second.end()[1].finish_reason == "cancelled"  # type: ignore[union-attr]
    made.pool.close()


def test_a_rule_of_others_places_and_refuses() -> None:
    asked: list[list[str]] = []

    def last(request: GenerationRequest, workers: Sequence[WorkerState]) -> WorkerState:
        asked.append([worker.name for worker in workers])
        if request.max_new_tokens == 1:
            raise GenerationError("Too late.", status="DEADLINE_EXCEEDED")
        return workers[-1]

    lines = [FakeLine() for _ in range(3)]
    lines[2].fates.append(Fate(refuses="RESOURCE_EXHAUSTED"))
    made = new_pool(*lines, place=last)
    until(lambda: all(worker.up for worker in made.pool.workers))
    ask(made.pool, wanted())
    with pytest.raises(GenerationError, match="Too late") as refused:
        made.pool.submit(wanted(1), Inbox().put)
    load = made.pool.load
    made.pool.close()

    assert refused.value.status == "DEADLINE_EXCEEDED"
    assert asked[:2] == [["worker-1", "worker-2", "worker-3"], ["worker-1", "worker-2"]]
    assert [len(line.requests) for line in lines] == [0, 1, 1]
    assert (load.running, load.waiting) == (0, 0)


def test_a_silent_worker_and_one_with_another_model_get_nothing() -> None:
    silent, strange, sound = FakeLine(), FakeLine(fingerprint="cd" * 32), FakeLine()
    made = new_pool(silent, strange, sound, silence_s=0.05)
    silent.silent = True
    until(lambda: "worker-1" in made.whereabouts.given_up)
    made.whereabouts.dead["worker-1"] = "was killed (SIGKILL)"
    until(lambda: "it is started again" in "".join(made.said))
    assert ask(made.pool, replace(wanted(), prompt="a secret"))[0] == TEXT
    states = made.pool.workers
    metrics = ServiceMetrics("cloud")
    metered(made.pool, metrics)
    figures = metrics.render().decode()
    made.pool.close()

    assert (len(silent.requests), len(strange.requests), len(sound.requests)) == (0, 0, 1)
    assert [(state.up, state.restarts) for state in states[:2]] == [(False, 1), (False, 0)]
    assert "worker-1 has not answered for 0.05 s; it is killed" in made.said
    assert "worker-1 was killed (SIGKILL); it is started again" in made.said
    assert f"worker-2 has another model ({'cd' * 6}, not ab) and gets no requests" in made.said
    assert 'netgpt_cloud_worker_restarts{worker="worker-1"} 1.0\n' in figures
    assert 'netgpt_cloud_worker_up{worker="worker-3"} 1.0\n' in figures
    assert "secret" not in figures + "".join(made.said)
