"""FedEx-LoRA (Singhal et al., 2410.09432): the means, and what they miss as a frozen residual.

up      dA (r, d_in), dB (d_out, r)
down    A, B and the residual of all rounds: rank r + (K - 1) r after one round
W       W0 + s Bm Am + s Res,  Bm = sum p_k B_k, Am = sum p_k A_k
        Res = sum p_k (B_k - Bm)(A_k - Am), so that s Bm Am + s Res = sum p_k s B_k A_k exactly

The K blocks of the residual's B side, sqrt(p_k) (B_k - Bm), weighted by sqrt(p_k) add up to 0. One
Householder reflection of the block index, which maps (sqrt(p_1), ..., sqrt(p_K)) on the first axis,
leaves a first block of 0: K - 1 blocks are as exact as K. The residual stays a frozen part of the
release; above the rank limit it is cut to its best approximation, and the loss is reported.
"""

import math
from collections.abc import Sequence

import numpy as np

from fl.adapter import Adapter, moved_by
from fl.aggregation.aggregator import Aggregated, Inputs
from fl.aggregation.factor_mean import FactorMean
from fl.aggregation.flora import padded, without_empty
from fl.aggregation.layers import (
    Matrix,
    Pair,
    adapter_of,
    layers_of,
    pair_of,
    squared_norm,
    stacked,
)
from fl.aggregation.method import Method
from fl.aggregation.product_sum import ProductMean
from fl.aggregation.svd import decompose
from fl.aggregation.turn import BOTH
from fl.sharing import first_directions, last_directions, part_spec
from fl.update import AdapterUpdate

MOST_BLOCKS = 64  # sites whose deltas are kept for the reflection; beyond, the products are summed


class FedEx:
    """Means of the learning directions; the frozen residual grows beside them."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._learning = first_directions(inputs.release, inputs.rank)
        self._residual = last_directions(inputs.release, inputs.rank)
        own = Inputs(
            release=self._learning,
            round_number=inputs.round_number,
            rank=inputs.rank,
            rank_limit=inputs.rank_limit,
            measure_error=inputs.measure_error,
        )
        self._mean = FactorMean(own, "AB", error=0.0)
        self._layers = layers_of(inputs.release)
        self._kept: list[tuple[AdapterUpdate, float]] = []  # with its weight
        self._products: ProductMean | None = None

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Add one admitted update; its weight is num_examples unless another is given."""
        self._mean.add(update, weight=weight)
        weight = float(update.num_examples if weight is None else weight)
        self._kept.append((update, weight))
        if self._products is None and len(self._kept) > MOST_BLOCKS:
            self._products = ProductMean()
        if self._products is not None:
            for kept, its_weight in self._kept:
                pairs = {layer: pair_of(kept.delta, layer) for layer in self._layers}
                self._products.add(pairs, kept, weight=its_weight)
            self._kept.clear()

    def finish(self) -> Aggregated:
        """Means and residual as one release; the error is what cutting the residual lost."""
        mean = self._mean.mean()
        learned = moved_by(self._learning, mean)
        residuals = self._new_residuals(mean)
        if self._residual is not None:
            residuals = {
                layer: stacked([pair_of(self._residual, layer), pair])
                for layer, pair in residuals.items()
            }
        limit = self._inputs.rank_limit - self._inputs.rank
        kept, lost = _cut(_without_nothing(residuals), limit)
        whole = {
            layer: stacked([pair_of(learned, layer), *([kept[layer]] if kept else [])])
            for layer in self._layers
        }
        rank = len(next(iter(whole.values()))[0])
        error = math.nan
        if self._inputs.measure_error:
            target = sum(
                squared_norm(stacked([pair_of(learned, layer), residuals[layer]]))
                for layer in self._layers
            )
            error = math.sqrt(lost / target) if target > 0 else 0.0
        return Aggregated(
            shared=adapter_of(part_spec(self._inputs.release.spec, rank), whole),
            delta=None,
            error=error,
        )

    def _new_residuals(self, mean: Adapter) -> dict[str, Pair]:
        """This round's residual of every layer, without the scale."""
        if self._products is None:
            total = sum(weight for _, weight in self._kept)
            shares = [weight / total for _, weight in self._kept]
            return {
                layer: residual([pair_of(u.delta, layer) for u, _ in self._kept], shares)
                for layer in self._layers
            }
        # (B_k - Bm)(A_k - Am) summed up is sum p_k dB_k dA_k - dBm dAm
        found = {}
        for layer, pair in self._products.pairs().items():
            d_a, d_b = pair_of(mean, layer)
            found[layer] = stacked([pair, (d_a, -d_b)])
        return found


def residual(pairs: Sequence[Pair], shares: Sequence[float]) -> Pair:
    """sum p_k (B_k - Bm)(A_k - Am) as K - 1 blocks. `pairs` may all be moved by one constant pair.

    Shapes: pairs of (A (r, d_in), B (d_out, r)); the result has (K - 1) r directions.
    """
    roots = np.sqrt(np.asarray(shares, np.float64))
    mean_a = sum(p * a for p, (a, _) in zip(shares, pairs, strict=True))
    mean_b = sum(p * b for p, (_, b) in zip(shares, pairs, strict=True))
    blocks_a = np.stack([root * (a - mean_a) for root, (a, _) in zip(roots, pairs, strict=True)])
    blocks_b = np.stack([root * (b - mean_b) for root, (_, b) in zip(roots, pairs, strict=True)])
    turned = _householder(roots)  # (K, K), its first row is +-roots
    a = np.einsum("jk,krd->jrd", turned, blocks_a)[1:]
    b = np.einsum("jk,kor->jor", turned, blocks_b)[1:]
    rank, d_in = pairs[0][0].shape
    d_out = pairs[0][1].shape[0]
    return a.reshape(-1, d_in), b.transpose(1, 0, 2).reshape(d_out, len(a) * rank)


def _householder(unit: Matrix) -> Matrix:
    """An orthogonal matrix whose first row is the unit vector, up to its sign."""
    axis = unit.copy()
    axis[0] += math.copysign(1.0, unit[0])
    reflection: Matrix = np.eye(len(unit)) - 2.0 * np.outer(axis, axis) / float(axis @ axis)
    return reflection


def _without_nothing(pairs: dict[str, Pair]) -> dict[str, Pair]:
    """The pairs without empty directions; none at all where every product is 0."""
    if all(len(a) == 0 or not np.any(b) for a, b in pairs.values()):
        return {}
    return without_empty(pairs)


def _cut(pairs: dict[str, Pair], limit: int) -> tuple[dict[str, Pair], float]:
    """(the pairs in at most `limit` directions, the squared norm of what that loses)."""
    if not pairs:
        return {}, 0.0
    rank = max(len(a) for a, _ in pairs.values())
    if rank <= limit:
        return {layer: padded(pair, rank) for layer, pair in pairs.items()}, 0.0
    lost, kept = 0.0, {}
    for layer, pair in pairs.items():
        found = decompose(pair)
        lost += found.lost_squared(limit)
        kept[layer] = padded(found.pair(limit), limit)
    return (kept if limit else {}), lost


FEDEX = Method(
    name="fedex",
    make=FedEx,
    turn=lambda number: BOTH,
    exact="exact until the rank limit (frozen residual)",
    steps=False,
)
