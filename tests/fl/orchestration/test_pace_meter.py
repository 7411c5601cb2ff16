"""What is learned of a model's pace from its answers."""

import random

import pytest

from fl.orchestration.batch_server import Pace
from fl.orchestration.pace_meter import PaceMeter

BELIEF = Pace(step_s=0.002, row_s=0.0003, rows=16)


def test_at_first_it_believes_what_it_was_told() -> None:
    pace = PaceMeter(BELIEF).pace
    assert (pace.step_s, pace.row_s, pace.rows) == (
        pytest.approx(0.002),
        pytest.approx(0.0003),
        16,
    )


def test_answers_teach_both_parts() -> None:
    meter, rng = PaceMeter(BELIEF), random.Random(1)
    for _ in range(400):
        k = rng.randint(1, 16)
        meter.learn(tokens=20, seconds=20 * (0.01 + 0.004 * k), together=k)
    assert meter.pace.step_s == pytest.approx(0.01, rel=0.02)
    assert meter.pace.row_s == pytest.approx(0.004, rel=0.02)


def test_answers_all_alike_are_met_and_nothing_turns_negative() -> None:
    meter = PaceMeter(BELIEF)
    for _ in range(400):
        meter.learn(tokens=10, seconds=0.5, together=1)
    assert meter.pace.token_s(1) == pytest.approx(0.05, rel=0.02)
    assert meter.pace.step_s > 0
    assert meter.pace.row_s > 0


def test_what_is_no_answer_teaches_nothing() -> None:
    meter = PaceMeter(BELIEF)
    meter.learn(tokens=0, seconds=1.0, together=1)
    meter.learn(tokens=5, seconds=0.0, together=1)
    assert meter.pace == PaceMeter(BELIEF).pace
