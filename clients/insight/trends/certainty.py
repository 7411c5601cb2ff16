"""How sure a difference between two ways of forecasting is, over the held-out windows of a series.

Windows follow each other hour by hour, and errors of neighbours are alike; so whole blocks of them
are drawn again, of the cube root of their number, around the end to the beginning (circular block
bootstrap). It says nothing of what another seed of training would give.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

DRAWS, SEED = 2000, 7
SURE = 0.95


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Of two means over the same windows."""

    mean: float
    low: float  # low to high holds it with the probability SURE
    high: float

    @property
    def is_below(self) -> bool:
        """Whether it is surely negative."""
        return self.high < 0

    @property
    def is_above(self) -> bool:
        """Whether it is surely positive."""
        return self.low > 0


def difference(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """The mean of ours minus that of theirs, window by window."""
    apart = np.asarray(ours, dtype=float) - np.asarray(theirs, dtype=float)  # (n,)
    n = len(apart)
    length = math.ceil(n ** (1 / 3) - 1e-9)
    blocks = math.ceil(n / length)
    begins = np.random.default_rng(SEED).integers(n, size=(DRAWS, blocks, 1))
    drawn = apart[(begins + np.arange(length)) % n].reshape(DRAWS, -1)[:, :n].mean(axis=1)
    low, high = np.quantile(drawn, [(1 - SURE) / 2, (1 + SURE) / 2])
    return Difference(mean=float(apart.mean()), low=float(low), high=float(high))
