"""From the letters' probabilities to a forecast in counts.

Everything about a value comes from one distribution over whole counts, so that no two parts of a
forecast contradict each other: the value is its median, the interval holds `coverage` of it, a
direction has the share of it that lies beyond, or within, 15 % of the last count. Within a letter
all whole counts are equally likely.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clients.insight.forecast import STEADY, Direction, Forecast, level_of
from clients.insight.trends.encoding import spans

Piece = tuple[range, float]  # whole counts that are equally likely, and their share together


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Over whole counts; the pieces' shares sum to 1."""

    pieces: tuple[Piece, ...]

    def share_upto(self, count: int) -> float:
        """The probability of `count` or less."""
        return math.fsum(share * _part(held, count + 1) for held, share in self.pieces)

    def quantile(self, share: float) -> int:
        """The least count up to which `share` of the distribution lies."""
        low = min(held.start for held, _ in self.pieces)
        high = max(held.stop for held, _ in self.pieces) - 1
        while low < high:
            middle = (low + high) // 2
            if self.share_upto(middle) >= share - 1e-12:
                high = middle
            else:
                low = middle + 1
        return low

    def directions(self, last: float) -> Mapping[Direction, float]:
        """The probability of each direction after `last`."""
        fall = self.share_upto(math.ceil(last * (1 - STEADY)) - 1)
        upto_steady = self.share_upto(math.floor(last * (1 + STEADY)))
        return {"rise": 1 - upto_steady, "steady": upto_steady - fall, "fall": fall}


def of_letters(log_p: Sequence[float], *, mean: float) -> Distribution:
    """Of one next count. `log_p` are nats of each of LETTERS, in their order.

    A letter that no whole count belongs to, which windows of small counts have many of, cannot be
    meant; the others share what it was given. Raises ValueError where nothing is left.
    """
    held = [
        (_whole_counts(span.low, span.high), math.exp(nats))
        for span, nats in zip(spans(mean), log_p, strict=True)
    ]
    held = [(counts, weight) for counts, weight in held if len(counts) and weight > 0]
    total = math.fsum(weight for _, weight in held)
    if total == 0.0:
        raise ValueError("no letter that a whole count belongs to was given any weight")
    return Distribution(pieces=tuple((counts, weight / total) for counts, weight in held))


def mixture(parts: Sequence[Distribution]) -> Distribution:
    """Each of the parts with the same probability."""
    return Distribution(
        pieces=tuple((held, share / len(parts)) for part in parts for held, share in part.pieces)
    )


def forecast_of(
    found: Distribution, *, last: float, past: Sequence[float], coverage: float
) -> Forecast:
    """What people are told. `past` says what its levels are; `coverage` is within 0 and 1."""
    value = float(found.quantile(0.5))
    probabilities = found.directions(last)
    return Forecast(
        value=value,
        low=float(found.quantile((1 - coverage) / 2)),
        high=float(found.quantile((1 + coverage) / 2)),
        direction=max(probabilities, key=lambda name: probabilities[name]),
        level=level_of(value, past),
        probabilities={str(name): share for name, share in probabilities.items()},
    )


def _whole_counts(low: float, high: float) -> range:
    """low <= count < high; 0 stands where a half does."""
    start = 0 if low <= 0.5 < high else max(math.ceil(low), 1)
    return range(start, max(start, math.ceil(high)))


def _part(held: range, stop: int) -> float:
    """Which part of `held` is below `stop`."""
    return min(max(stop - held.start, 0), len(held)) / len(held)
