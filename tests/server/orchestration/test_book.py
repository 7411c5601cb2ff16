"""The cloud's book, by a clock of the test's."""

from dataclasses import replace

import pytest

from fl.errors import GenerationError
from fl.generation import Reply
from fl.link.speed import LinkSpeed
from fl.settings import load
from server.orchestration.book import Advert, Announced, Book

SETTINGS = load(
    [
        "orchestration.step_ms=10",
        "orchestration.row_ms=10",
        "orchestration.slack=0",
        "asking.answer_tokens=40",  # so 30 are expected at first: 0.6 s alone
    ]
)


HERE = ["here"]
ADVERT = Advert(
    site_id="elm",
    cell="elm",
    cores=2,
    memory_mb=100,
    waiting=0,
    step_s=0.01,
    row_s=0.01,
    link=LinkSpeed(rtt_s=0.1, up_bytes_s=1e6, down_bytes_s=1e6),
    federation="",
    release=0,
)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def book_of(clock: Clock) -> Book:
    book = Book(SETTINGS, clock=clock)
    book.staff(["here"])
    return book


def announced(name: str, *, deadline_s: float = 1.0) -> Announced:
    return Announced(
        request_id=name,
        site_id="elm",
        cell="elm",
        deadline_s=deadline_s,
        bytes_up=100,
        bytes_down=100,
        ready_s=0.0,
        own_s=float("inf"),
    )


def reply(tokens: int, seconds: float) -> Reply:
    return Reply(
        text="",
        finish_reason="stop",
        prompt_tokens=1,
        completion_tokens=tokens,
        queue_seconds=0.0,
        prefill_seconds=0.0,
        decode_seconds=seconds,
        model_fingerprint="",
        release="base",
    )


def test_a_promise_nobody_comes_for_lapses_with_its_deadline() -> None:
    clock = Clock()
    book = book_of(clock)
    assert book.admit(announced("a", deadline_s=0.7)).place == "cloud"
    assert book.admit(announced("b", deadline_s=0.7)).place == "shed"  # 0.9 s beside the other
    clock.now += 0.7
    assert book.admit(announced("c", deadline_s=0.7)).place == "cloud"
    assert book.decided == {"cloud": 2, "edge": 0, "shed": 1}


def test_a_place_that_is_given_back_is_free() -> None:
    book = book_of(Clock())
    book.admit(announced("a", deadline_s=0.7))
    book.release("a")
    assert book.admit(announced("b", deadline_s=0.7)).place == "cloud"
    book.come("b", HERE)
    book.release("b")  # it is at work: giving its place back changes nothing
    assert book.workers()[0].promised == 1


def test_answers_teach_how_long_they_take_and_are() -> None:
    clock = Clock()
    book = book_of(clock)
    for number in range(300):
        book.come(str(number), HERE)
        clock.now += 5.0
        book.end(str(number), reply(10, 5.0))  # alone: half a second a token
    assert book.workers()[0].pace.token_s(1) == pytest.approx(0.5, rel=0.05)
    verdict = book.admit(announced("next", deadline_s=60.0))
    assert verdict.expected_s == pytest.approx(5.0, rel=0.1)  # 10 tokens are usual by now


def test_who_gave_up_teaches_nothing_and_leaves_nothing() -> None:
    clock = Clock()
    book = book_of(clock)
    before = book.workers()[0].pace
    book.come("a", HERE)
    clock.now += 9.0
    book.end("a", None)
    assert book.workers()[0].pace == before
    assert book.workers()[0].promised == 0


def test_a_lost_workers_requests_come_again_elsewhere() -> None:
    book = book_of(Clock())
    book.come("a", HERE)
    book.staff([])
    assert book.come("a", []) is None
    assert book.come("a", ["other"]) == "other"
    book.end("a", reply(10, 1.0))
    assert book.workers()[0].promised == 0


def test_the_newest_advert_counts() -> None:
    clock = Clock()
    book = book_of(clock)
    for rtt_s in (0.1, 0.3):
        book.advertise(
            Advert(
                site_id="elm",
                cell="elm",
                cores=2,
                memory_mb=1000,
                waiting=0,
                step_s=0.01,
                row_s=0.001,
                link=LinkSpeed(rtt_s=rtt_s, up_bytes_s=1000, down_bytes_s=1000),
                federation="f",
                release=3,
            )
        )
        clock.now += 2.0
    ((age_s, advert),) = book.adverts()
    assert age_s == pytest.approx(2.0)
    assert advert.link is not None
    assert advert.link.rtt_s == pytest.approx(0.3)
    # 0.6 s of writing, 0.3 s of way, 0.1 s of bytes each way.
    assert book.admit(announced("a", deadline_s=9.0)).expected_s == pytest.approx(1.1)


def test_the_round_trip_of_a_question_counts_for_it() -> None:
    clock = Clock()
    book = book_of(clock)
    book.advertise(ADVERT)
    assert book.admit(announced("quick")).place == "cloud"  # 0.6 s and 0.1 s of 1 s
    book.release("quick")
    assert book.admit(replace(announced("slow"), rtt_s=0.6)).place == "shed"


def test_who_was_broken_off_teaches_nothing_though_it_had_written() -> None:
    clock = Clock()
    book = book_of(clock)
    before = book.admit(announced("before", deadline_s=60.0)).expected_s
    book.release("before")
    book.come("late", HERE)
    clock.now += 9.0
    book.end("late", replace(reply(3, 9.0), finish_reason="cancelled"))
    assert book.admit(announced("after", deadline_s=60.0)).expected_s == pytest.approx(before)


def test_a_worker_is_as_quick_as_what_it_wrote_itself() -> None:
    clock = Clock()
    book = book_of(clock)
    for number in range(300):
        book.come(str(number), HERE, written=30)
        clock.now += 5.0
        book.end(str(number), reply(40, 5.0))  # ten of them, in 5 s
    assert book.workers()[0].pace.token_s(1) == pytest.approx(0.5, rel=0.05)


def test_a_worker_that_was_away_for_a_moment_is_as_quick_as_before() -> None:
    clock = Clock()
    book = book_of(clock)
    for number in range(300):
        book.come(str(number), HERE)
        clock.now += 5.0
        book.end(str(number), reply(10, 5.0))
    pace = book.workers()[0].pace
    book.staff([])
    book.staff(HERE)
    assert book.workers()[0].pace == pace


def test_who_asks_again_has_one_place_and_who_is_being_answered_asks_for_none() -> None:
    book = book_of(Clock())
    for _ in range(3):
        assert book.admit(announced("a")).place == "cloud"
    assert book.workers()[0].promised == 1
    book.come("a", HERE)
    with pytest.raises(GenerationError) as refused:
        book.admit(announced("a"))
    assert refused.value.status == "INVALID_ARGUMENT"
    book.end("a", None)
    assert book.workers()[0].promised == 0


def test_a_site_that_is_silent_for_long_is_forgotten() -> None:
    clock = Clock()
    book = book_of(clock)
    book.advertise(replace(ADVERT, site_id="gone"))
    clock.now += 601.0
    book.advertise(ADVERT)
    assert [advert.site_id for _, advert in book.adverts()] == ["elm"]
