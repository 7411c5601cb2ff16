"""FLoRA (Wang et al., 2409.05976): the sites' pairs are stacked, which adds their products exactly.

up      a new pair: A_k (r_k, d_in), B_k (d_out, r_k); ranks and alphas may differ
down    the whole release, of rank R
W       W0 + s B A with  A = [A_g; A_1; ...; A_K],  B = [B_g, p_1 (s_1 / s) B_1, ...]

The paper folds the stack into W0 and starts again. Here W0 stays as it is: the release keeps all
directions, the sites train a new pair beside it, and the next release stacks both. Above the rank
limit it is cut to the best approximation of that rank, and the loss is the reported error.
"""

import math

import numpy as np

from fl.adapter import Adapter
from fl.aggregation.aggregator import Aggregated, Inputs
from fl.aggregation.layers import (
    Pair,
    adapter_of,
    check_update,
    layers_of,
    pair_of,
    stacked,
)
from fl.aggregation.method import Method
from fl.aggregation.product_sum import ProductMean
from fl.aggregation.svd import decompose
from fl.aggregation.turn import NEW_PAIR
from fl.sharing import part_spec
from fl.update import AdapterUpdate


class Flora:
    """Stacks of the new pairs, layer by layer."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._mean = ProductMean()

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Add a site's pair; its own alpha / rank is folded into B."""
        release, rank = self._inputs.release, self._inputs.rank
        check_update(update, release, factors="AB", rank=rank, mixed=True)
        fold = update.delta.spec.scale / release.spec.scale
        pairs = {layer: pair_of(update.delta, layer) for layer in layers_of(release)}
        folded = {layer: (a, b * fold) for layer, (a, b) in pairs.items()}
        self._mean.add(folded, update, weight=weight)

    def finish(self) -> Aggregated:
        """Release and round in one stack, within the rank limit."""
        release = self._inputs.release
        whole = {
            layer: stacked([pair_of(release, layer), pair])
            for layer, pair in self._mean.pairs().items()
        }
        shared, error = within(without_empty(whole), release, limit=self._inputs.rank_limit)
        measured = error if self._inputs.measure_error else math.nan
        return Aggregated(shared=shared, delta=None, error=measured)


def without_empty(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """The pairs without the directions whose B is 0 in every layer; at least one stays."""
    if len({len(a) for a, _ in pairs.values()}) > 1:
        return pairs  # some layers are dense
    used = np.any([np.any(b != 0, axis=0) for _, b in pairs.values()], axis=0)
    if not used.any():
        used[:1] = True
    return {layer: (a[used], b[:, used]) for layer, (a, b) in pairs.items()}


def within(pairs: dict[str, Pair], release: Adapter, *, limit: int) -> tuple[Adapter, float]:
    """(the adapter of these pairs, of at most `limit` directions; the relative loss of cutting)."""
    rank = max(len(a) for a, _ in pairs.values())
    if rank <= limit:
        # A layer that was multiplied out may have another number of directions than the others.
        even = {layer: padded(pair, rank) for layer, pair in pairs.items()}
        return adapter_of(part_spec(release.spec, rank), even), 0.0
    cut: dict[str, Pair] = {}
    lost = total = 0.0
    for layer, pair in pairs.items():
        found = decompose(pair)
        cut[layer] = padded(found.pair(limit), limit)
        lost += found.lost_squared(limit)
        total += float(np.sum(found.sizes**2))
    shared = adapter_of(part_spec(release.spec, limit), cut)
    return shared, math.sqrt(lost / total) if total > 0 else 0.0


def padded(pair: Pair, rank: int) -> Pair:
    """The pair with directions of 0 up to `rank`; a thin layer has no more than it is wide."""
    a, b = pair
    more = rank - len(a)
    return np.pad(a, ((0, more), (0, 0))), np.pad(b, ((0, 0), (0, more)))


FLORA = Method(
    name="flora",
    make=Flora,
    turn=lambda number: NEW_PAIR,
    exact="exact until the rank limit, then best of that rank",
    mixed_ranks=True,
    steps=False,
)
