"""How good forecasts of a series were."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from clients.insight.forecast import Forecast, direction_of
from clients.insight.trends.data_sets import Known


@dataclass(frozen=True, kw_only=True)
class Score:
    """Of one arm at one series."""

    smape: float  # mean |y - f| / max((y + f) / 2, 1); 0 to 2
    direction: float  # share whose direction was told
    coverage: float  # share within its interval
    width: float  # of the interval, mean, as a share of the mean count


def score(known: Sequence[Known], forecasts: Sequence[Forecast]) -> Score:
    """Of held-out windows, in order."""
    pairs = [
        (window.history[-1], targets[0], found)
        for (window, targets), found in zip(known, forecasts, strict=True)
    ]
    n, mean = len(pairs), sum(count for _, count, _ in pairs) / len(pairs)
    return Score(
        smape=sum(smape(count, found.value) for _, count, found in pairs) / n,
        direction=sum(direction_of(last, y) == found.direction for last, y, found in pairs) / n,
        coverage=sum(found.low <= count <= found.high for _, count, found in pairs) / n,
        width=sum(found.high - found.low for _, _, found in pairs) / n / max(mean, 1e-9),
    )


def smape(count: float, forecast: float) -> float:
    """Of one count; two counts that are both below one are no more than one apart."""
    return abs(count - forecast) / max((count + forecast) / 2, 1.0)


def commonest_direction(known: Sequence[Known]) -> float:
    """The share of the direction that is most often the right one in these very windows."""
    found = Counter(direction_of(window.history[-1], targets[0]) for window, targets in known)
    return max(found.values()) / len(known)
