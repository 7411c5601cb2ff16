"""What a site thinks that its own model will take, by a clock of the test's."""

import pytest

from clients.orchestration.own_pace import OwnPace
from fl.settings import load

# 30 tokens to enrich and 60 to answer are expected at first, at 10 ms each alone.
SETTINGS = load(
    [
        "orchestration.step_ms=5",
        "orchestration.row_ms=5",
        "asking.enriched_tokens=40",
        "asking.answer_tokens=80",
    ]
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_idle_model_takes_what_was_thought() -> None:
    pace = OwnPace(SETTINGS, rows=2, clock=Clock())
    assert pace.ready_s() == pytest.approx(0.3)
    assert pace.own_s() == pytest.approx(0.9)


def test_who_is_at_work_slows_down_who_comes() -> None:
    clock = Clock()
    pace = OwnPace(SETTINGS, rows=2, clock=clock)
    with pace.enriching():
        assert pace.ready_s() == pytest.approx(0.45)  # 30 tokens at 15 ms beside it
    assert pace.ready_s() == pytest.approx(0.3)


def test_texts_teach_how_long_they_are_and_take() -> None:
    clock = Clock()
    pace = OwnPace(SETTINGS, rows=2, clock=clock)
    for _ in range(300):
        with pace.enriching() as work:
            clock.now += 2.0
            work.tokens = 20
    assert pace.ready_s() == pytest.approx(2.0, rel=0.05)


def test_a_text_that_was_given_up_late_teaches_that_it_takes_longer() -> None:
    clock = Clock()
    pace = OwnPace(SETTINGS, rows=2, clock=clock)
    before = pace.ready_s()
    with pace.enriching():
        clock.now += 0.1  # the asker left soon: that says nothing
    assert pace.ready_s() == pytest.approx(before)
    for _ in range(100):
        with pace.enriching():
            clock.now += 3.0
    assert pace.ready_s() == pytest.approx(3.0, rel=0.1)
