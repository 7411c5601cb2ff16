"""FlexLoRA (Bai et al., 2402.11505): the mean product, cut to the best approximation of rank r.

up      dA (r_k, d_in), dB (d_out, r_k); ranks and alphas may differ
down    A, B of rank r = learning.rank; a site of rank r_k works with the first r_k directions
W       W0 + s B A with s B A the best approximation of rank r of Delta* = sum p_k s_k B_k A_k:
        A = V_r^T, B = U_r S_r / s. What is cut off is the reported error: not exact

The singular values stand in B alone. Split over both factors, a direction of size 0 would have
A = 0 and B = 0, and could never learn.
"""

import math

import numpy as np

from fl.aggregation.aggregator import Aggregated, Inputs
from fl.aggregation.layers import Matrix, Pair, adapter_of, check_update, layers_of, pair_of
from fl.aggregation.method import Method
from fl.aggregation.product_sum import ProductSum
from fl.aggregation.svd import Decomposed, decompose
from fl.aggregation.turn import BOTH
from fl.errors import FederationError
from fl.sharing import part_spec
from fl.update import AdapterUpdate

NOTHING = 1e-7  # of the largest singular value; what is smaller is rounding


class FlexLora:
    """Sums of the sites' products, layer by layer."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._layers = layers_of(inputs.release)
        self._sums = {layer: ProductSum() for layer in self._layers}
        self._weights = 0.0

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Rebuild the site's pair, A_g + dA and B_g + dB of its directions, and add its product."""
        release, rank = self._inputs.release, self._inputs.rank
        check_update(update, release, factors="AB", rank=rank, mixed=True)
        weight = float(update.num_examples if weight is None else weight)
        assert 0 < weight < math.inf, weight
        self._weights += weight
        directions, fold = update.delta.spec.rank, update.delta.spec.scale / release.spec.scale
        for layer in self._layers:
            a_g, b_g = pair_of(release, layer)
            d_a, d_b = pair_of(update.delta, layer)
            # With a scale of its own, a site starts from B_g s / s_k, so that the product is ours.
            b_k = b_g[:, :directions] / fold + d_b
            self._sums[layer].add((a_g[:directions] + d_a, b_k), weight * fold)

    def finish(self) -> Aggregated:
        """The best release of rank r."""
        if self._weights <= 0:
            raise FederationError("There is nothing to aggregate: no update was added.")
        release, rank = self._inputs.release, self._inputs.rank
        pairs: dict[str, Pair] = {}
        lost = total = 0.0
        for layer in self._layers:
            a, b = self._sums[layer].pair()
            found = decompose((a, b / self._weights))
            pairs[layer] = _able_to_learn(found, rank, pair_of(release, layer)[0])
            lost += found.lost_squared(rank)
            total += float(np.sum(found.sizes**2))
        error = math.sqrt(lost / total) if total > 0 else 0.0
        return Aggregated(
            shared=adapter_of(part_spec(release.spec, rank), pairs),
            delta=None,
            error=error if self._inputs.measure_error else math.nan,
        )


def _able_to_learn(found: Decomposed, rank: int, a_before: Matrix) -> Pair:
    """The first `rank` directions; those that add nothing get B = 0 and an A that can learn."""
    a, b = found.pair(rank)
    largest = found.sizes[0] if len(found.sizes) else 0.0
    real = int(np.sum(found.sizes[:rank] > NOTHING * largest)) if largest > 0 else 0
    missing = rank - real
    if not missing:
        return a, b
    return (
        np.concatenate([a[:real], a_before[len(a_before) - missing :]]),
        np.concatenate([b[:, :real], np.zeros((len(b), missing))], axis=1),
    )


FLEXLORA = Method(
    name="flexlora",
    make=FlexLora,
    turn=lambda number: BOTH,
    exact="the best of its rank",
    mixed_ranks=True,
    cuts=True,
    steps=False,
)
