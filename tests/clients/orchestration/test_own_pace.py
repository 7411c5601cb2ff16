"""What a site thinks that its own model will take, by a clock of the test's."""

import pytest

from clients.orchestration.own_pace import OwnPace
from fl.orchestration.turn_server import Turn
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


def test_who_comes_while_it_writes_waits_for_the_turns_end() -> None:
    clock = Clock()
    pace = OwnPace(SETTINGS, rows=2, clock=clock)
    with pace.enriching():
        clock.now = 0.1
        assert pace.ready_s() == pytest.approx(0.2 + 0.3)
        assert pace.own_s() == pytest.approx(0.2 + 0.3 + 0.3 + 0.6)
        pace.turn_over(Turn(seconds=0.3, steps=30, tokens=30))
    assert pace.ready_s() == pytest.approx(0.3)


def test_texts_teach_how_long_they_are_and_turns_how_long_they_take() -> None:
    pace = OwnPace(SETTINGS, rows=2, clock=Clock())
    for _ in range(300):
        with pace.enriching() as work:
            pace.turn_over(Turn(seconds=2.0, steps=20, tokens=20))
            work.tokens = 20
    assert pace.ready_s() == pytest.approx(2.0, rel=0.05)


def test_a_turn_teaches_though_its_askers_have_left() -> None:
    pace = OwnPace(SETTINGS, rows=2, clock=Clock())
    for _ in range(100):
        with pace.enriching():
            pass  # given up
        pace.turn_over(Turn(seconds=3.0, steps=30, tokens=30))
    assert pace.ready_s() == pytest.approx(3.0, rel=0.1)
