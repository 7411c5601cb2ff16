"""By hand."""

import pytest

from fl.orchestration.running_mean import RunningMean


def test_a_belief_stands_until_there_are_numbers_and_then_their_plain_mean() -> None:
    mean = RunningMean(60.0)
    assert mean.value == 60.0
    mean.add(40.0)
    assert mean.value == pytest.approx(40.0)
    mean.add(20.0)
    assert mean.value == pytest.approx(30.0)


def test_later_it_follows_what_changes() -> None:
    mean = RunningMean(60.0)
    for _ in range(1000):
        mean.add(40.0)
    mean.add(50.0)
    assert mean.value == pytest.approx(41.0)
