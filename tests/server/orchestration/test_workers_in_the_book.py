"""Workers as the book has them: how quick they are, and what they keep while they are away."""

from dataclasses import replace

import pytest

from server.orchestration.book import Book
from tests.server.orchestration.books import (
    AGAIN,
    AWAY,
    HERE,
    OTHER,
    SETTINGS,
    Clock,
    announced,
    book_of,
    reply,
    taught,
)


def test_a_worker_is_as_quick_as_it_wrote_what_it_wrote_itself() -> None:
    clock = Clock()
    book = book_of(clock)
    for number in range(300):
        book.come(str(number), HERE, written=9)
        clock.now += 0.5
        book.end(str(number), reply(10, 0.5))  # the tenth token took it half a second
    assert book.workers()[0].pace.token_s(1) == pytest.approx(0.5, rel=0.05)
    verdict = book.admit(announced("next", deadline_s=60.0))
    assert verdict.expected_s == pytest.approx(5.0, rel=0.1)  # answers have 10 tokens all the same


def test_who_waits_in_a_workers_line_is_in_no_step_of_it() -> None:
    clock = Clock()
    few = Book(replace(SETTINGS, engine=replace(SETTINGS.engine, batch=2)), clock=clock)
    many = Book(replace(SETTINGS, engine=replace(SETTINGS.engine, batch=2)), clock=clock)
    for round_number in range(50):
        for book, crowd in ((few, 2), (many, 8)):
            names = [f"{round_number}-{one}" for one in range(crowd)]
            for name in names:
                book.come(name, HERE)
            clock.now += 1.0
            for name in names:
                book.end(name, reply(10, 1.0))  # what it took once it was in the steps
    assert many.workers()[0].pace.token_s(2) == pytest.approx(
        few.workers()[0].pace.token_s(2), rel=0.05
    )
    assert many.workers()[0].pace.token_s(1) > 0.03


def test_a_lost_workers_requests_come_again_elsewhere() -> None:
    book = book_of(Clock())
    book.come("a", HERE)
    book.staff([])
    assert book.come("a", []) is None
    assert book.come("a", OTHER) == "other"
    book.end("a", reply(10, 1.0))
    assert book.workers()[0].promised == 0


def test_a_worker_that_is_away_for_a_moment_keeps_what_it_had() -> None:
    clock = Clock()
    book = taught(clock)
    before = book.workers()[0].pace
    book.come("runs", HERE)
    assert book.admit(announced("promised", deadline_s=60.0)).place == "cloud"
    book.staff(AWAY)
    assert book.admit(announced("new", deadline_s=60.0)).place == "shed"  # nobody answers
    (away,) = book.workers()
    assert (away.pace, away.promised) == (before, 2)
    book.staff(HERE)
    (back,) = book.workers()
    assert (back.pace, back.promised) == (before, 2)
    clock.now += 5.0
    book.end("runs", reply(10, 15.0))  # it teaches all the same
    assert book.workers()[0].pace.token_s(1) > before.token_s(1)
    assert book.come("promised", HERE) == "here"
    book.end("promised", None)
    assert book.workers()[0].promised == 0


def test_what_ends_while_its_worker_is_away_does_not_come_back() -> None:
    clock = Clock()
    book = book_of(clock)
    for name in ("ends", "moves"):
        book.come(name, HERE)
    for name in ("given back", "lapses", "comes"):
        book.admit(announced(name, deadline_s=10.0))
    book.staff([*AWAY, *OTHER])
    book.end("ends", reply(10, 1.0))
    assert book.come("moves", OTHER) == "other"
    book.release("given back")
    assert book.come("comes", OTHER) == "other"
    assert [worker.promised for worker in book.workers()] == [1, 2]
    clock.now += 10.0
    book.admit(announced("new", deadline_s=0.001))  # sees who has not come in time
    book.staff([*HERE, *OTHER])
    assert [worker.promised for worker in book.workers()] == [0, 2]


def test_a_worker_that_comes_back_with_a_request_keeps_what_it_had() -> None:
    clock = Clock()
    book = taught(clock)
    before = book.workers()[0].pace
    book.staff(AWAY)
    assert book.come("a", HERE) == "here"  # the pool knew first
    assert book.workers()[0].pace == before


def test_another_process_has_neither_the_promises_nor_the_pace() -> None:
    for how in ("asked", "comes"):
        clock = Clock()
        book = taught(clock)
        book.come("ran", HERE)
        book.admit(announced("promised", deadline_s=60.0))
        book.staff(AWAY)
        if how == "asked":
            book.staff(AGAIN)
            assert book.workers()[0].promised == 0
        assert book.come("ran", AGAIN) == "here"
        assert book.workers()[0].promised == 1
        assert book.workers()[0].pace.token_s(1) == pytest.approx(0.02)
        book.staff(HERE)  # seen before it was started again, told late
        assert book.workers()[0].promised == 1
