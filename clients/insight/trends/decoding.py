"""From the letters' probabilities to a forecast in counts.

Everything about a value comes from one distribution over whole counts: the value is its median, the
interval holds `coverage` of it, a direction has the share of it that lies beyond, or within, 15 %
of the count before. Within a letter all whole counts are equally likely, but for 0: the letter of a
large window's smallest counts holds 0 and many more, and the window says how often it was 0.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clients.insight.forecast import STEADY, Direction, Forecast, direction_of, level_of
from clients.insight.trends.encoding import scale_of, spans

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
        least, most = _steady(last)
        fall, upto_steady = self.share_upto(least - 1), self.share_upto(most)
        return {"rise": 1 - upto_steady, "steady": upto_steady - fall, "fall": fall}


def of_letters(log_p: Sequence[float], *, history: Sequence[float]) -> Distribution:
    """Of the count after `history`. `log_p` are nats of each of LETTERS, in their order.

    A letter that no whole count belongs to, which windows of small counts have many of, cannot be
    meant; the others share what it was given. Raises ValueError where nothing is left.
    """
    pieces: list[Piece] = []
    for span, nats in zip(spans(scale_of(history)), log_p, strict=True):
        counts, weight = _whole_counts(span.low, span.high), math.exp(nats)
        if 0 in counts and len(counts) > 1:
            none = weight * _share_of_none(counts, history)
            pieces += [(range(1), none), (counts[1:], weight - none)]
        elif counts:
            pieces.append((counts, weight))
    total = math.fsum(weight for _, weight in pieces)
    if total == 0.0:
        raise ValueError("no letter that a whole count belongs to was given any weight")
    return Distribution(
        pieces=tuple((counts, weight / total) for counts, weight in pieces if weight > 0)
    )


def mean_directions(
    parts: Sequence[tuple[Distribution, float]],
) -> Mapping[Direction, float]:
    """Of equally probable (distribution, count before it)."""
    told = [found.directions(last) for found, last in parts]
    return {name: math.fsum(one[name] for one in told) / len(told) for name in told[0]}


def mixture(parts: Sequence[Distribution]) -> Distribution:
    """Each of the parts with the same probability."""
    return Distribution(
        pieces=tuple((held, share / len(parts)) for part in parts for held, share in part.pieces)
    )


def forecast_of(
    found: Distribution,
    *,
    directions: Mapping[Direction, float],
    past: Sequence[float],
    coverage: float,
) -> Forecast:
    """What people are told. `past` says what its levels are; `coverage` is within 0 and 1."""
    value = float(found.quantile(0.5))
    return Forecast(
        value=value,
        low=float(found.quantile((1 - coverage) / 2)),
        high=float(found.quantile((1 + coverage) / 2)),
        direction=max(directions, key=lambda name: directions[name]),
        level=level_of(value, past),
        probabilities={str(name): share for name, share in directions.items()},
    )


def _whole_counts(low: float, high: float) -> range:
    """low <= count < high; 0 stands where a half does."""
    start = 0 if low <= 0.5 < high else max(math.ceil(low), 1)
    return range(start, max(start, math.ceil(high)))


def _share_of_none(counts: range, history: Sequence[float]) -> float:
    """The probability of 0 among `counts`: as in the window, and one more that may be any."""
    seen = [count for count in history if count < counts.stop]
    return (seen.count(0.0) + 1 / len(counts)) / (len(seen) + 1)


def _steady(last: float) -> tuple[int, int]:
    """The least and the most whole count that is steady after `last`; none where least > most.

    direction_of decides, for (1 + STEADY) * last may miss its very edge by a rounding.
    """
    least, most = math.ceil(last * (1 - STEADY)), math.floor(last * (1 + STEADY))
    while direction_of(last, least) == "fall":
        least += 1
    while least > 0 and direction_of(last, least - 1) != "fall":
        least -= 1
    while direction_of(last, most) == "rise":
        most -= 1
    while direction_of(last, most + 1) != "rise":
        most += 1
    return least, most


def _part(held: range, stop: int) -> float:
    """Which part of `held` is below `stop`."""
    return min(max(stop - held.start, 0), len(held)) / len(held)
