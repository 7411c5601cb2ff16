"""The plainest forecaster: the next count is the last one, the spread that of past changes."""

import math
import statistics
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise

from clients.insight.forecast import Direction, Forecast, direction_of, level_of

Z_90 = 1.645  # half a 90 % interval of a normal distribution, in standard deviations


class Persistence:
    """A Forecaster."""

    def __call__(self, history: Sequence[float], at: datetime) -> Forecast:
        """See Forecaster; a history of nothing is one of zeros."""
        last = history[-1] if history else 0.0
        changes = [b - a for a, b in pairwise(history)]
        spread = statistics.pstdev(changes) if len(changes) > 1 else math.sqrt(last)
        shares = _shares(history)
        most = max(shares, key=lambda one: shares[one])
        return Forecast(
            value=last,
            low=max(0.0, last - Z_90 * spread),
            high=last + Z_90 * spread,
            direction=most,
            level=level_of(last, history),
            probabilities={str(one): share for one, share in shares.items()},
        )


def _shares(history: Sequence[float]) -> Mapping[Direction, float]:
    """How often each direction followed; one more of each, so that none is impossible."""
    counts: dict[Direction, int] = {"steady": 1, "rise": 1, "fall": 1}
    for before, after in pairwise(history):
        counts[direction_of(before, after)] += 1
    total = sum(counts.values())
    return {one: count / total for one, count in counts.items()}
