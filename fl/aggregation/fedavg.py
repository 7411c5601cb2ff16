"""FedAvg of LoRA factors (FedIT, 2305.05644): average A and B separately, weighted by examples.

up      dA (r, d_in), dB (d_out, r)
down    A, B

For one layer, with g = the release, site k's update dA_k, dB_k (so A_k = A_g + dA_k, B_k likewise),
p_k = w_k / sum w with the weights w (examples, fewer for a late update), and s = alpha / r:
    used     s (B_g + dB)(A_g + dA)        dA = sum p_k dA_k, dB = sum p_k dB_k
    target   Delta* = s sum p_k B_k A_k
    error    Delta* - used = s sum p_k (B_k - mean B)(A_k - mean A)
                           = s (C - dB dA),   C = sum p_k dB_k dA_k
A_k and B_k need not be rebuilt for that: every term with A_g or B_g alone cancels. The error is not
the difference of two large numbers, and it is taken without any dense product while the sites'
directions are fewer than the matrix is thin.
"""

import math

from fl.adapter import Adapter, moved_by
from fl.aggregation.aggregator import Aggregated, Inputs
from fl.aggregation.factor_mean import FactorMean
from fl.aggregation.layers import layers_of, pair_of, squared_norm, stacked
from fl.aggregation.method import Method
from fl.aggregation.product_sum import ProductMean
from fl.aggregation.turn import BOTH
from fl.update import AdapterUpdate


class FedAvg:
    """Running means of both factors, and of the products that tell the error."""

    def __init__(self, inputs: Inputs) -> None:
        self._release = inputs.release
        self._mean = FactorMean(inputs, "AB", error=math.nan)
        self._products = ProductMean() if inputs.measure_error else None

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Add one admitted update; its weight is num_examples unless another is given."""
        self._mean.add(update, weight=weight)
        if self._products is not None:
            pairs = {layer: pair_of(update.delta, layer) for layer in layers_of(self._release)}
            self._products.add(pairs, update, weight=weight)

    def finish(self) -> Aggregated:
        """The mean delta and the exact error of the products it makes."""
        delta = self._mean.mean()
        return Aggregated(
            shared=moved_by(self._release, delta), delta=delta, error=self._error(delta)
        )

    def _error(self, mean: Adapter) -> float:
        """||Delta* - used||_F / ||Delta*||_F over all layers; 0 where Delta* itself is zero."""
        if self._products is None:
            return math.nan
        missed = target = 0.0  # squared Frobenius norms without the common factor s
        for layer, products in self._products.pairs().items():
            d_a, d_b = pair_of(mean, layer)
            a, b = pair_of(self._release, layer)
            difference = stacked([products, (d_a, -d_b)])
            missed += squared_norm(difference)
            target += squared_norm(stacked([difference, (a + d_a, b + d_b)]))
        return math.sqrt(missed / target) if target > 0 else 0.0


FEDAVG = Method(
    name="fedavg", make=FedAvg, turn=lambda number: BOTH, exact="inexact (mean of factors)"
)
