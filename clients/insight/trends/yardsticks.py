"""Forecasts that need no language model: what the edge model is measured against.

The interval of each is its forecast plus the quantiles of its own errors in training.
"""

from collections.abc import Callable, Sequence

import numpy as np

from clients.insight.acting.auto_regression import AutoRegression
from clients.insight.forecast import Forecast, direction_of, level_of
from clients.insight.trends.data_sets import Series
from clients.insight.trends.forecasting import Window

PERSISTENCE, SEASONAL, MEAN, AR = "persistence", "seasonal-naive", "mean of 3", "AR(24)"
YARDSTICKS = (PERSISTENCE, SEASONAL, MEAN, AR)

Point = Callable[[Window], float]


def yardstick(name: str, series: Series, *, coverage: float) -> list[Forecast]:
    """Of every held-out window."""
    point = _POINTS[name](series)
    errors = [targets[0] - point(window) for window, targets in series.train]
    low, high = np.quantile(errors, [(1 - coverage) / 2, (1 + coverage) / 2])
    return [
        _forecast(point(window), float(low), float(high), window, series.counts)
        for window, _ in series.heldout
    ]


def _forecast(
    value: float, low: float, high: float, window: Window, past: Sequence[float]
) -> Forecast:
    direction = direction_of(window.history[-1], value)
    return Forecast(
        value=value,
        low=max(0.0, value + low),
        high=max(0.0, value + high),
        direction=direction,
        level=level_of(value, past),
        probabilities={name: float(name == direction) for name in ("rise", "steady", "fall")},
    )


def _regression(series: Series) -> Point:
    """Least squares over the training windows."""
    fitted = AutoRegression(
        [window.history for window, _ in series.train],
        [targets[0] for _, targets in series.train],
    )
    return lambda window: fitted(window.history, window.at).value


_POINTS: dict[str, Callable[[Series], Point]] = {
    PERSISTENCE: lambda series: lambda window: window.history[-1],
    SEASONAL: lambda series: lambda window: window.history[0],  # the same hour, a day before
    MEAN: lambda series: lambda window: sum(window.history[-3:]) / 3,
    AR: _regression,
}
