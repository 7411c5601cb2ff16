"""What a round's updates were like, in numbers that hold no text."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fl.adapter import Adapter
from fl.aggregation.layers import layers_of, pair_of
from fl.aggregation.product_space import Change, change, gram, inner
from fl.aggregation.svd import decompose
from fl.aggregation.turn import Turn
from fl.update import AdapterUpdate

COUNTS = 0.01  # of the largest singular value; a direction above it counts


@dataclass(frozen=True, kw_only=True)
class Telemetry:
    """Sizes and directions of a round's updates in product space, in units of W."""

    sites: tuple[str, ...]  # whose cosines follow, sorted
    norms: Mapping[str, float]  # ||Delta_k - Delta_g||_F of every admitted site
    cosines: tuple[tuple[float, ...], ...]  # (sites, sites)
    effective_rank: float  # of the next release, mean over layers; 0 where it changes nothing


class Observer:
    """Looks at updates as they come; keeps the changes of the first sites only."""

    def __init__(self, release: Adapter, turn: Turn, *, most: int = 32) -> None:
        """`most` is the number of sites whose cosines are told."""
        self._release, self._turn, self._most = release, turn, most
        self._norms: dict[str, float] = {}
        self._changes: dict[str, Change] = {}

    def add(self, update: AdapterUpdate) -> None:
        """Note an admitted update."""
        moved = change(update, self._release, self._turn)
        norm = self._release.spec.scale * math.sqrt(max(0.0, inner(moved, moved)))
        self._norms[update.site_id] = norm
        self._changes[update.site_id] = moved
        if len(self._changes) > self._most:
            # The same sites whatever order they answer in.
            del self._changes[max(self._changes)]

    def finish(self, shared: Adapter) -> Telemetry:
        """The round's telemetry; `shared` is the next release's adapter."""
        sites = tuple(sorted(self._changes))
        products = gram([self._changes[site] for site in sites])
        lengths = np.sqrt(np.maximum(np.diag(products), 0.0))
        outer = np.outer(lengths, lengths)
        cosines = np.divide(products, outer, out=np.zeros_like(products), where=outer > 0)
        return Telemetry(
            sites=sites,
            norms=dict(sorted(self._norms.items())),
            cosines=tuple(tuple(float(c) for c in row) for row in np.clip(cosines, -1, 1)),
            effective_rank=effective_rank(shared),
        )


def effective_rank(adapter: Adapter) -> float:
    """Singular values above 1 % of the largest, mean over layers."""
    counted = []
    for layer in layers_of(adapter):
        sizes = decompose(pair_of(adapter, layer)).sizes
        largest = float(sizes[0]) if len(sizes) else 0.0
        counted.append(float(np.sum(sizes > COUNTS * largest)) if largest > 0 else 0.0)
    return sum(counted) / len(counted) if counted else 0.0
