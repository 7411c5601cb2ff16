"""The cloud's book, by a clock of the test's."""

from dataclasses import replace

import pytest

from fl.errors import GenerationError
from fl.generation import Reply
from fl.link.speed import LinkSpeed
from fl.settings import load
from server.orchestration.adverts import Advert
from server.orchestration.book import Announced, Book

SETTINGS = load(
    [
        "orchestration.step_ms=10",
        "orchestration.row_ms=10",
        "orchestration.slack=0",
        "asking.answer_tokens=40",  # so 30 are expected at first: 0.6 s alone
    ]
)


HERE = ["here"]


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


def reply(tokens: int, seconds: float, *, finish_reason: str = "stop") -> Reply:
    return Reply(
        text="",
        finish_reason=finish_reason,
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


def test_who_asks_again_has_one_place() -> None:
    clock = Clock()
    book = book_of(clock)
    for _ in range(3):
        assert book.admit(announced("a", deadline_s=0.7)).place == "cloud"
    assert book.workers()[0].promised == 1
    assert book.admit(announced("a", deadline_s=0.1)).place == "shed"
    assert book.workers()[0].promised == 0
    book.admit(announced("a"))
    book.come("a", HERE)
    with pytest.raises(GenerationError, match="here already") as refused:
        book.admit(announced("a"))
    assert refused.value.status == "ALREADY_EXISTS"
    assert book.workers()[0].promised == 1  # that of the one at work


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


def test_an_answer_that_was_cut_off_teaches_nothing() -> None:
    clock = Clock()
    book = book_of(clock)
    expected_s = book.admit(announced("a", deadline_s=9.0)).expected_s
    before = book.workers()[0].pace
    for _ in range(20):
        book.come("a", HERE)
        clock.now += 9.0
        book.end("a", reply(1, 9.0, finish_reason="cancelled"))
    assert book.workers()[0].pace == before
    assert book.admit(announced("b", deadline_s=9.0)).expected_s == expected_s


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
    link = LinkSpeed(rtt_s=0.1, up_bytes_s=1e6, down_bytes_s=1e6)
    advert = Advert(
        site_id="elm",
        cell="elm",
        cores=2,
        memory_mb=100,
        waiting=0,
        step_s=0.01,
        row_s=0.01,
        link=link,
        federation="",
        release=0,
    )
    book.advertise(advert)
    assert book.admit(announced("quick")).place == "cloud"  # 0.6 s and 0.1 s of 1 s
    book.release("quick")
    assert book.admit(replace(announced("slow"), rtt_s=0.6)).place == "shed"
