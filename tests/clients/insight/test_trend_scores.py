"""Scores, yardsticks and how sure a difference is, on series whose numbers are worked out here."""

import math
from datetime import datetime, timedelta

import pytest

from clients.insight.forecast import Direction, Forecast, Level
from clients.insight.trends.certainty import difference
from clients.insight.trends.data_sets import Series
from clients.insight.trends.encoding import Known, Window
from clients.insight.trends.scores import directions, hits_of_commonest, score, smape
from clients.insight.trends.yardsticks import (
    AR,
    AR_LOG,
    MEAN,
    PERSISTENCE,
    SEASONAL,
    yardstick,
)

START = datetime(2026, 3, 2)


def known(history: list[float], *after: float, hour: int = 0) -> Known:
    return Window(history=tuple(history), at=START + timedelta(hours=hour)), after


def told(value: float, low: float, high: float, direction: Direction, level: Level) -> Forecast:
    return Forecast(
        value=value, low=low, high=high, direction=direction, level=level, probabilities={}
    )


def series(train: list[Known], heldout: list[Known]) -> Series:
    counts = tuple(count for window, _ in train for count in window.history)
    return Series(name="s", counts=counts, train=tuple(train), heldout=tuple(heldout))


def test_smape_by_hand() -> None:
    assert smape(30, 10) == 1.0  # 20 apart, 20 in the middle
    assert smape(0, 10) == 2.0
    assert smape(0, 0.5) == 0.5  # the middle counts as 1 at the least


def test_a_score_by_hand() -> None:
    """10 -> 30 told as 10 in 5..20; 10 -> 10 told as 30 in 0..40; past fifths are 1 to 5."""
    flat = [10.0] * 24
    found = score(
        [known(flat, 30), known(flat, 10)],
        [told(10, 5, 20, "steady", "middle"), told(30, 0, 40, "steady", "very high")],
        [1, 5, 10, 20, 40],
    )
    assert found.smape == 1.0  # both times 20 of 20
    assert found.direction == 0.5  # a rise was missed
    assert found.level == 0.0  # 30 is high, 10 is middle
    assert found.coverage == 0.5  # 30 is not in 5..20
    assert found.width == pytest.approx(27.5 / 20)


def test_the_commonest_is_known_in_hindsight() -> None:
    flat = [10.0] * 24
    windows = [known(flat, 20), known(flat, 10), known(flat, 30)]
    assert directions(windows) == ["rise", "steady", "rise"]
    assert hits_of_commonest(directions(windows)) == [1, 0, 1]


def test_naive_yardsticks_by_hand() -> None:
    """Errors in training: 4 above the last, 10 above the day before, 5 above the mean of three."""
    train = [known([0.0] + [5.0] * 22 + [6.0], 10)]
    window = known([7.0] + [9.0] * 21 + [3.0, 12.0], 99)
    for name, value, off in ((PERSISTENCE, 12, 4), (SEASONAL, 7, 10), (MEAN, 8, 14 / 3)):
        (found,) = yardstick(name, series(train, [window]), coverage=0.8)
        assert found.value == value
        assert found.low == pytest.approx(value + off)  # its one error is every quantile
        assert found.high == pytest.approx(value + off)
    assert found.direction == "fall"  # 8 after 12


def test_a_regression_on_logarithms_does_not_follow_a_spike() -> None:
    """Every second count is 3 times the one before it, then a third; one spike in training.

    Least squares on counts are bent by the spike, those on logarithms hardly.
    """
    pattern = [30.0 if i % 2 else 10.0 for i in range(120)]
    spiky = [*pattern[:60], 30_000.0, *pattern[61:]]
    train = [known(spiky[i : i + 24], spiky[i + 24], hour=i) for i in range(90)]
    heldout = [known(pattern[:24], 10), known(pattern[1:25], 30)]
    off = {}
    for name in (AR, AR_LOG):
        found = yardstick(name, series(train, heldout), coverage=0.8)
        off[name] = max(smape(c, f.value) for c, f in zip((10, 30), found, strict=True))
        assert all(0 <= one.low <= one.high for one in found)
    assert off[AR_LOG] < 0.5 < off[AR]


def test_how_sure_a_difference_is() -> None:
    same = difference([1.0] * 9, [0.5] * 9)
    assert (same.mean, same.low, same.high) == (0.5, 0.5, 0.5)
    assert same.is_above
    assert not same.is_below
    # 64 windows, +1 and -1 by turns: blocks of 4 hold two of each, so 16 of them always sum to 0.
    turns = difference([1.0, -1.0] * 32, [0.0] * 64)
    assert (turns.low, turns.high) == (0.0, 0.0)
    # In runs of 4 they do not: a block's mean is -1 to 1 with variance 6/16, that of 16 blocks a
    # 16th of it; 1.96 deviations are 0.30.
    runs = difference(([1.0] * 4 + [-1.0] * 4) * 8, [0.0] * 64)
    assert runs.high == pytest.approx(1.96 * math.sqrt(6 / 16 / 16), abs=0.06)
    assert not runs.is_above
