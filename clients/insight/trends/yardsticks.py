"""Forecasts that need no language model: what the edge model is measured against.

The interval of each is its forecast plus the quantiles of its own errors in training. AR(24) stands
here twice: least squares on counts follow a series' few spikes, on their logarithms its habits.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from clients.insight.acting.auto_regression import AutoRegression
from clients.insight.forecast import Forecast, direction_of, level_of
from clients.insight.trends.data_sets import Series
from clients.insight.trends.encoding import Window

PERSISTENCE, SEASONAL, MEAN = "persistence", "seasonal-naive", "mean of 3"
AR, AR_LOG = "AR(24)", "AR(24), log"
YARDSTICKS = (PERSISTENCE, SEASONAL, MEAN, AR, AR_LOG)

Point = Callable[[Window], float]


@dataclass(frozen=True, kw_only=True)
class Scale:
    """On which errors are alike."""

    to: Callable[[float], float]
    back: Callable[[float], float]


COUNTS = Scale(to=float, back=float)
LOGARITHMS = Scale(to=math.log1p, back=math.expm1)


def yardstick(name: str, series: Series, *, coverage: float) -> list[Forecast]:
    """Of every held-out window."""
    point, scale = _POINTS[name](series), LOGARITHMS if name == AR_LOG else COUNTS
    errors = [scale.to(targets[0]) - scale.to(point(window)) for window, targets in series.train]
    low, high = np.quantile(errors, [(1 - coverage) / 2, (1 + coverage) / 2])
    found = []
    for window, _ in series.heldout:
        value = point(window)
        ends = (scale.back(scale.to(value) + float(error)) for error in (low, high))
        found.append(_forecast(value, (max(0.0, end) for end in ends), window, series.counts))
    return found


def _forecast(
    value: float, ends: Iterable[float], window: Window, past: Sequence[float]
) -> Forecast:
    low, high = ends
    direction = direction_of(window.history[-1], value)
    return Forecast(
        value=value,
        low=low,
        high=high,
        direction=direction,
        level=level_of(value, past),
        probabilities={name: float(name == direction) for name in ("rise", "steady", "fall")},
    )


def _regression(series: Series, scale: Scale) -> Point:
    """Least squares over the training windows."""
    fitted = AutoRegression(
        [[scale.to(count) for count in window.history] for window, _ in series.train],
        [scale.to(targets[0]) for _, targets in series.train],
    )
    return lambda window: scale.back(
        fitted([scale.to(count) for count in window.history], window.at).value
    )


_POINTS: dict[str, Callable[[Series], Point]] = {
    PERSISTENCE: lambda series: lambda window: window.history[-1],
    SEASONAL: lambda series: lambda window: window.history[0],  # the same hour, a day before
    MEAN: lambda series: lambda window: sum(window.history[-3:]) / 3,
    AR: lambda series: _regression(series, COUNTS),
    AR_LOG: lambda series: _regression(series, LOGARITHMS),
}
