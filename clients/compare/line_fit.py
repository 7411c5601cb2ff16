"""A straight line through points: seconds = a + b * D."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class LineFit:
    """By least squares. r2 is 1 where the line explains everything."""

    a: float
    b: float
    r2: float
    points: int


def fit_line(points: Sequence[tuple[float, float]]) -> LineFit:
    """Through (D, seconds). Raises ValueError without two different D."""
    x, y = np.array([p[0] for p in points]), np.array([p[1] for p in points])  # (n,)
    if len(set(x.tolist())) < 2:
        raise ValueError("a line needs points at two different D")
    b = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    a = float(y.mean() - b * x.mean())
    spread = float(((y - y.mean()) ** 2).sum())
    left = float(((y - a - b * x) ** 2).sum())
    return LineFit(a=a, b=b, r2=1 - left / spread if spread else 1.0, points=len(points))
