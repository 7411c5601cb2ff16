"""A site asks for a place while it writes: verdicts in time, late, and never."""

from threading import Event
from time import perf_counter
from typing import Any, cast

import pytest

from clients.orchestration.cloud_desk import Question
from clients.orchestration.own_pace import OwnPace
from clients.orchestration.placing import AT_THE_SITE, Placing
from clients.routing.threshold import Usual
from fl.errors import GenerationError
from fl.orchestration.admission import Verdict
from fl.settings import load

SETTINGS = load(["orchestration.step_ms=1", "orchestration.row_ms=1"])
CLOUD = Verdict(place="cloud", worker="here", expected_s=0.2)


class Desk:
    """Answers when the test lets it."""

    def __init__(self, says: Verdict | GenerationError) -> None:
        self.says, self.may = says, Event()
        self.questions: list[Question] = []
        self.released: list[tuple[str, str]] = []
        self.was_released = Event()

    def admit(self, question: Question) -> Verdict:
        self.questions.append(question)
        self.may.wait()
        if isinstance(self.says, GenerationError):
            raise self.says
        return self.says

    def release(self, site_id: str, request_id: str) -> None:
        self.released.append((site_id, request_id))
        self.was_released.set()


class Meter:
    usual = Usual(bytes_up=300.0, bytes_down=900.0, cloud_s=0.1)
    recent_rtt_s: float | None = 0.03

    def saw(self, rtt_s: float) -> None:
        self.recent_rtt_s = rtt_s


def placing(desk: Desk) -> Placing:
    return Placing(
        SETTINGS,
        "elm",
        cell="valley",
        desk=cast(Any, desk),
        pace=OwnPace(SETTINGS, rows=4),
        meter=cast(Any, Meter()),
    )


def test_the_question_says_what_the_request_will_take() -> None:
    desk = Desk(CLOUD)
    desk.may.set()
    place = placing(desk).begin("one", started=perf_counter(), deadline_s=60.0)
    assert place.verdict(within_s=60.0) == CLOUD
    [question] = desk.questions
    assert (question.site_id, question.cell, question.request_id) == ("elm", "valley", "one")
    assert (question.bytes_up, question.bytes_down) == (300.0, 900.0)
    assert question.rtt_s == 0.03
    # 60 tokens to enrich and 54 to answer, at 2 ms, as long as nothing else is known
    assert question.ready_s == pytest.approx(0.120)
    assert question.own_s == pytest.approx(0.228)
    assert 59 < question.deadline_s <= 60


def test_who_hears_too_late_goes_on_and_gives_the_place_back() -> None:
    desk = Desk(CLOUD)
    place = placing(desk).begin("one", started=perf_counter(), deadline_s=0.1)
    assert (
        place.verdict(within_s=60.0) == AT_THE_SITE
    )  # its own answer could hardly be in time as it is
    assert desk.released == []
    desk.may.set()
    assert desk.was_released.wait(10)
    assert desk.released == [("elm", "one")]


def test_a_place_that_is_not_needed_is_given_back_once_it_is_known() -> None:
    desk = Desk(CLOUD)
    place = placing(desk).begin("one", started=perf_counter(), deadline_s=60.0)
    place.give_back()
    desk.may.set()
    assert desk.was_released.wait(10)
    known = placing(desk).begin("two", started=perf_counter(), deadline_s=60.0)
    assert known.verdict(within_s=60.0) == CLOUD
    known.give_back()
    assert desk.released == [("elm", "one"), ("elm", "two")]


def test_a_cloud_that_is_away_leaves_the_request_at_the_site() -> None:
    desk = Desk(GenerationError("away", status="UNAVAILABLE"))
    desk.may.set()
    place = placing(desk).begin("one", started=perf_counter(), deadline_s=60.0)
    assert place.verdict(within_s=60.0) == AT_THE_SITE
    place.give_back()
    assert desk.released == []


def test_it_waits_no_longer_than_its_step_lasts_and_then_answers_by_itself() -> None:
    desk = Desk(CLOUD)
    began = perf_counter()
    place = placing(desk).begin("one", started=began, deadline_s=3600.0)
    assert place.verdict(within_s=0.05) == AT_THE_SITE
    assert perf_counter() - began < 60  # not for the hour that it has


def test_one_that_writes_its_own_answer_first_is_ready_after_that() -> None:
    desk = Desk(CLOUD)
    desk.may.set()
    place = placing(desk).begin("one", started=perf_counter(), deadline_s=60.0, drafts=True)
    assert place.verdict(within_s=60.0) == CLOUD
    [question] = desk.questions
    assert question.ready_s == question.own_s == pytest.approx(0.228)
