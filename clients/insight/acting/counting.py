"""How often something is asked for in each interval, and what is forecast of the next one."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from clients.insight.forecast import Forecast, Forecaster

KEPT = 24 * 8  # intervals of a history; a forecaster takes what it needs of them
MOST_KINDS = 64  # of which counts are kept; all others are one


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Of one kind of request, in the interval that is running."""

    count: float
    forecast: Forecast | None  # None before the first whole interval


class Counting:
    """Counts by kind. Times are seconds since 1970, UTC; not for threads."""

    def __init__(self, forecaster: Forecaster, *, interval_s: float) -> None:
        self._forecaster, self._interval_s = forecaster, interval_s
        self._running: int | None = None  # the interval that is counted now
        self._counts: dict[str, int] = defaultdict(int)
        self._histories: dict[str, list[float]] = {}
        self._expected: dict[str, Expected] = {}

    @property
    def expected(self) -> Mapping[str, Expected]:
        """What is forecast of the interval that is running, by kind."""
        return self._expected

    def asked(self, now: float, kind: str) -> bool:
        """One request of this kind. True where an interval has ended and forecasts are new."""
        new = self.move_on(now)
        known = kind in self._counts or len(self._counts) < MOST_KINDS
        self._counts[kind if known else ""] += 1
        return new

    def move_on(self, now: float) -> bool:
        """The time is this; end the intervals that are over. True where there are new forecasts."""
        number = int(now // self._interval_s)
        if self._running is None:
            self._running = number
        if number <= self._running:
            return False
        ended, self._running = self._running, number
        passed = min(number - ended, KEPT)  # those after the first had no request at all
        for kind in {*self._counts, *self._histories}:
            history = self._histories.setdefault(kind, [])
            history += [float(self._counts.get(kind, 0)), *[0.0] * (passed - 1)]
            del history[:-KEPT]
        self._counts = dict.fromkeys(self._counts, 0)
        at = datetime.fromtimestamp((number - 1) * self._interval_s, UTC)
        self._expected = {}  # none rather than old ones, should forecasting fail
        self._expected = {
            kind: _expect(self._forecaster, history, at)
            for kind, history in self._histories.items()
        }
        return True


def _expect(forecaster: Forecaster, history: Sequence[float], at: datetime) -> Expected:
    forecast = forecaster(history, at)
    return Expected(count=max(0.0, forecast.value), forecast=forecast)
