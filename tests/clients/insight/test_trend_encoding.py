"""Counts as letters, and letters as forecasts: by hand, and what must hold for any series."""

import math
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.insight.forecast import direction_of, level_of
from clients.insight.trends.decoding import Distribution, forecast_of, mixture, of_letters
from clients.insight.trends.encoding import (
    EDGES,
    HISTORY,
    LETTERS,
    letter,
    letters_of,
    prompt_text,
    scale_of,
    spans,
)

FRIDAY = datetime(2026, 3, 6, 22)
counts = st.lists(st.integers(0, 10**7), min_size=HISTORY, max_size=HISTORY)
nats = st.lists(st.floats(-30, 0), min_size=len(LETTERS), max_size=len(LETTERS))


def test_a_window_by_hand() -> None:
    flat = prompt_text([10.0] * HISTORY, FRIDAY)
    middle = LETTERS[len(LETTERS) // 2]  # ln 1 lies in the middle letter's span
    assert flat == f"Counts {' '.join([middle] * 24)} at Fri {LETTERS[22]} of {LETTERS[9]}"
    # 2 log2(10 / 0.5) = 8.64: size 9. Zero is told as a half; far beyond the last edge is the last.
    assert letter(0, mean=1000.0) == LETTERS[0]
    assert letters_of([1e9, 10.0], mean=10.0) == f"{LETTERS[-1]} {middle}"
    assert math.isclose(EDGES[-1], 0.9 * math.sinh(1.75))


@pytest.mark.parametrize("bad", [[1.0] * 23, [1.0] * 23 + [-1.0], [1.0] * 23 + [math.nan]])
def test_no_window(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="count"):
        prompt_text(bad, FRIDAY)


@given(counts)
def test_every_count_lies_in_the_span_of_its_letter(history: list[int]) -> None:
    mean = scale_of(history)
    held = dict(zip(LETTERS, spans(mean), strict=True))
    for count in history:
        span = held[letter(count, mean=mean)]
        least = max(count, 0.5)
        assert span.low <= least * (1 + 1e-9)
        assert least <= span.high * (1 + 1e-9)


def test_none_can_be_forecast_after_many() -> None:
    """Two thirds of a window are 0, and the model is sure of the letter that 0 has there.

    Beside the mean of 667 the letter stands for 0 to 54, all 16 counts of it are 0: 16 of 17 are
    for 0, the 17th is for any of the 55.
    """
    history = [0.0] * 8 + [2000.0] * 8 + [0.0] * 8
    sure = [0.0 if one == letter(0, mean=scale_of(history)) else -math.inf for one in LETTERS]
    found = of_letters(sure, history=history)
    assert found.share_upto(0) == pytest.approx((16 + 1 / 55) / 17)
    assert found.share_upto(54) == pytest.approx(1.0)
    told = forecast_of(found, directions=found.directions(0.0), past=history, coverage=0.8)
    assert (told.value, told.low, told.high, told.direction) == (0, 0, 0, "steady")


def test_directions_are_those_of_the_study() -> None:
    """A share is of exactly the counts that direction_of calls so: 100 -> 115 is steady."""
    for last in [*range(2001), 0.5, 2.5, 1e15]:
        for count in range(math.floor(last * 1.15) - 1, math.floor(last * 1.15) + 3):
            only = Distribution(pieces=((range(max(count, 0), max(count, 0) + 1), 1.0),))
            assert only.directions(last)[direction_of(last, max(count, 0))] == 1.0
        for count in range(max(0, math.ceil(last * 0.85) - 2), math.ceil(last * 0.85) + 2):
            only = Distribution(pieces=((range(count, count + 1), 1.0),))
            assert only.directions(last)[direction_of(last, count)] == 1.0


def test_levels_of_equal_counts() -> None:
    assert level_of(5, [5] * 24) == "middle"
    assert level_of(0, [0] * 12 + [9] * 12) == "low"  # in the middle of the lower half
    assert [level_of(x, [1, 2, 3, 4, 5]) for x in (0, 1, 3, 5, 6)] == [
        "very low",
        "very low",
        "middle",
        "very high",
        "very high",
    ]


def test_a_distribution_by_hand() -> None:
    found = Distribution(pieces=((range(8, 12), 0.5), (range(12, 22), 0.5)))
    assert found.quantile(0.5) == 11
    assert found.quantile(0.125) == 8
    assert found.quantile(1.0) == 21
    # Beyond 15 % of 10: 8 falls (0.125), 9, 10, 11 are steady, 12 and more rise.
    assert found.directions(10.0) == pytest.approx({"fall": 0.125, "steady": 0.375, "rise": 0.5})
    told = forecast_of(
        found, directions=found.directions(10.0), past=[1, 5, 10, 20, 40], coverage=0.8
    )
    assert (told.value, told.low, told.high, told.direction) == (11, 8, 19, "rise")
    assert told.level == "high"  # three of five past counts are below it


@given(counts, nats)
def test_the_parts_of_a_forecast_agree(history: list[int], log_p: list[float]) -> None:
    found = of_letters(log_p, history=history)
    told = forecast_of(found, directions=found.directions(history[-1]), past=history, coverage=0.8)
    assert 0 <= told.low <= told.value <= told.high
    assert math.isclose(sum(told.probabilities.values()), 1.0, abs_tol=1e-9)
    assert all(share >= -1e-9 for share in told.probabilities.values())
    assert found.share_upto(int(told.high)) >= 0.9 - 1e-9
    both = mixture([found, found])
    assert both.quantile(0.3) == found.quantile(0.3)
