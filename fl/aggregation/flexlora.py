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
from fl.aggregation.product_sum import ProductMean
from fl.aggregation.svd import Decomposed, decompose
from fl.aggregation.turn import BOTH
from fl.sharing import part_spec
from fl.update import AdapterUpdate

NOTHING = 1e-7  # of the largest singular value; what is smaller is rounding


class FlexLora:
    """Means of the sites' products, layer by layer."""

    def __init__(self, inputs: Inputs) -> None:
        self._inputs = inputs
        self._mean = ProductMean()

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Rebuild the site's pair, A_g + dA and B_g + dB of its directions, and add its product."""
        release, rank = self._inputs.release, self._inputs.rank
        check_update(update, release, factors="AB", rank=rank, mixed=True)
        directions, fold = update.delta.spec.rank, update.delta.spec.scale / release.spec.scale
        pairs: dict[str, Pair] = {}
        for layer in layers_of(release):
            a_g, b_g = pair_of(release, layer)
            d_a, d_b = pair_of(update.delta, layer)
            # With a scale of its own, a site starts from B_g s / s_k, so that the product is ours.
            pairs[layer] = (a_g[:directions] + d_a, b_g[:, :directions] + d_b * fold)
        self._mean.add(pairs, update, weight=weight)

    def finish(self) -> Aggregated:
        """The best release of rank r."""
        release, rank = self._inputs.release, self._inputs.rank
        pairs: dict[str, Pair] = {}
        lost = total = 0.0
        for layer, pair in self._mean.pairs().items():
            found = decompose(pair)
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
