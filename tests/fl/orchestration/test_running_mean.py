"""By hand."""

import pytest

from fl.orchestration.running_mean import RunningMean


def test_at_first_it_is_the_plain_mean_of_belief_and_numbers() -> None:
    mean = RunningMean(60.0)
    mean.add(40.0)
    assert mean.value == pytest.approx(50.0)
    mean.add(20.0)
    assert mean.value == pytest.approx(40.0)


def test_later_it_follows_what_changes() -> None:
    mean = RunningMean(60.0)
    for _ in range(1000):
        mean.add(40.0)
    mean.add(50.0)
    assert mean.value == pytest.approx(41.0)
