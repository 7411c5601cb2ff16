"""AR(24) by least squares: the next count as a weighted sum of the last 24 and a constant."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import numpy.typing as npt

from clients.insight.acting.persistence import Z_90
from clients.insight.forecast import Forecast, direction_of, level_of

LAGS = 24
RIDGE = 1e-3  # of the mean square of the lags: keeps weights finite where lags say the same
_NOISE = 1e-12  # share of the lags' squares below which a deviation is rounding


class AutoRegression:
    """A Forecaster, fitted once."""

    def __init__(self, windows: Sequence[Sequence[float]], following: Sequence[float]) -> None:
        """`windows` are LAGS counts each, `following` the count after each."""
        lags: npt.NDArray[np.float64] = np.asarray(windows, dtype=float)  # (n, LAGS)
        wanted: npt.NDArray[np.float64] = np.asarray(following, dtype=float)  # (n,)
        self._mean, self._middle = lags.mean(axis=0), float(wanted.mean())
        centred = lags - self._mean
        square = centred.T @ centred
        self._weights = np.zeros(LAGS)  # lags that never change say nothing
        if np.trace(square) > _NOISE * (lags**2).sum():
            square += RIDGE * np.trace(square) / LAGS * np.eye(LAGS)
            self._weights = np.linalg.solve(square, centred.T @ (wanted - self._middle))
        left = wanted - self._middle - centred @ self._weights
        self._spread = float(left.std())

    def __call__(self, history: Sequence[float], at: datetime) -> Forecast:
        """See Forecaster; a history shorter than LAGS is continued backwards with its mean."""
        seen = list(history[-LAGS:])
        filled = [float(np.mean(seen)) if seen else self._middle] * (LAGS - len(seen)) + seen
        value = self._middle + float((np.asarray(filled) - self._mean) @ self._weights)
        value = max(0.0, value)
        last = seen[-1] if seen else value
        direction = direction_of(last, value)
        return Forecast(
            value=value,
            low=max(0.0, value - Z_90 * self._spread),
            high=value + Z_90 * self._spread,
            direction=direction,
            level=level_of(value, history),
            probabilities={one: float(one == direction) for one in ("rise", "fall", "steady")},
        )
