"""What is expected next of a series of counts."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

STEADY = 0.15  # share of the last value within which the next one counts as steady

Direction = Literal["rise", "fall", "steady"]
Level = Literal["very low", "low", "middle", "high", "very high"]
LEVELS: tuple[Level, ...] = ("very low", "low", "middle", "high", "very high")


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Of one next value, in counts."""

    value: float
    low: float  # low to high holds the value with the probability trend.coverage
    high: float
    direction: Direction  # against the value before it: beyond, or within, 15 % of it
    level: Level  # quintile of the series' own past
    probabilities: Mapping[str, float]  # of the three directions


class Forecaster(Protocol):
    """Anything that forecasts."""

    def __call__(self, history: Sequence[float], at: datetime) -> Forecast:
        """The value after `history`, whose last one is of the step that begins `at`."""


def direction_of(last: float, following: float) -> Direction:
    """Beyond STEADY of the last value, or within it."""
    if abs(following - last) <= STEADY * last:
        return "steady"
    return "rise" if following > last else "fall"


def level_of(value: float, past: Sequence[float]) -> Level:
    """The quintile of the past in which a value is; among equals it is the middle one."""
    if not past:
        return "middle"
    ordered = sorted(past)
    twice = bisect_left(ordered, value) + bisect_right(ordered, value)  # its rank, doubled
    return LEVELS[min(4, 5 * twice // (2 * len(ordered)))]
