"""Counts as letters, and letters as forecasts: by hand, and what must hold for any series."""

import math
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        outermost = LETTERS[0], LETTERS[-1]
        assert letter(count, mean=mean) in outermost or span.low <= least * (1 + 1e-9)
        assert letter(count, mean=mean) in outermost or least <= span.high * (1 + 1e-9)


def test_a_distribution_by_hand() -> None:
    found = Distribution(pieces=((range(8, 12), 0.5), (range(12, 22), 0.5)))
    assert found.quantile(0.5) == 11
    assert found.quantile(0.125) == 8
    assert found.quantile(1.0) == 21
    # Beyond 15 % of 10: 8 falls (0.125), 9, 10, 11 are steady, 12 and more rise.
    assert found.directions(10.0) == pytest.approx({"fall": 0.125, "steady": 0.375, "rise": 0.5})
    told = forecast_of(found, last=10.0, past=[1, 5, 10, 20, 40], coverage=0.8)
    assert (told.value, told.low, told.high, told.direction) == (11, 8, 19, "rise")
    assert told.level == "high"  # three of five past counts are below it


@given(counts, nats)
def test_the_parts_of_a_forecast_agree(history: list[int], log_p: list[float]) -> None:
    found = of_letters(log_p, mean=scale_of(history))
    told = forecast_of(found, last=history[-1], past=history, coverage=0.8)
    assert 0 <= told.low <= told.value <= told.high
    assert math.isclose(sum(told.probabilities.values()), 1.0, abs_tol=1e-9)
    assert all(share >= -1e-9 for share in told.probabilities.values())
    assert found.share_upto(int(told.high)) >= 0.9 - 1e-9
    both = mixture([found, found])
    assert both.quantile(0.3) == found.quantile(0.3)
