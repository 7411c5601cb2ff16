"""How good forecasts of a series were."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clients.insight.forecast import Forecast, Level, direction_of, level_of
from clients.insight.trends.encoding import Known


@dataclass(frozen=True, kw_only=True)
class Score:
    """Of one arm at one series."""

    smape: float  # mean |y - f| / max((y + f) / 2, 1); 0 to 2
    direction: float  # share whose direction was told
    level: float  # share whose level was told
    coverage: float  # share within its interval
    width: float  # of the interval, mean, as a share of the mean count


def score(known: Sequence[Known], forecasts: Sequence[Forecast], past: Sequence[float]) -> Score:
    """Of held-out windows, in order; `past` says what levels are."""
    counts, n = [targets[0] for _, targets in known], len(known)
    pairs = list(zip(counts, forecasts, strict=True))
    judged = zip(levels(known, past), forecasts, strict=True)
    told = sum(level == found.level for level, found in judged)
    return Score(
        smape=sum(smapes(known, forecasts)) / n,
        direction=sum(told_directions(known, forecasts)) / n,
        level=told / n,
        coverage=sum(found.low <= count <= found.high for count, found in pairs) / n,
        width=sum(found.high - found.low for _, found in pairs) / max(sum(counts), 1e-9),
    )


def smape(count: float, forecast: float) -> float:
    """Of one count; two counts that are both below one are no more than one apart."""
    return abs(count - forecast) / max((count + forecast) / 2, 1.0)


def smapes(known: Sequence[Known], forecasts: Sequence[Forecast]) -> list[float]:
    """Of each window."""
    pairs = zip(known, forecasts, strict=True)
    return [smape(targets[0], found.value) for (_, targets), found in pairs]


def told_directions(known: Sequence[Known], forecasts: Sequence[Forecast]) -> list[float]:
    """1 for each window whose direction was told, else 0."""
    pairs = zip(directions(known), forecasts, strict=True)
    return [float(direction == found.direction) for direction, found in pairs]


def directions(known: Sequence[Known]) -> list[str]:
    """What came after each window."""
    return [direction_of(window.history[-1], targets[0]) for window, targets in known]


def levels(known: Sequence[Known], past: Sequence[float]) -> list[Level]:
    """What came after each window."""
    return [level_of(targets[0], past) for _, targets in known]


def hits_of_commonest(classes: Iterable[str]) -> list[float]:
    """1 where the class is the one that these very windows have most often, else 0."""
    found = list(classes)
    ((commonest, _),) = Counter(found).most_common(1)
    return [float(one == commonest) for one in found]
