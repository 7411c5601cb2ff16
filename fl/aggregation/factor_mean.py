"""The mean of the factor that travels, where the other one is the same at all sites.

With one factor common, the mean of the products is the product of the mean:
    sum p_k s B_k A = s (sum p_k B_k) A
so a method that freezes a factor is exact. The sums are of float64, so the mean does not depend on
the order in which sites answer (to 1e-16), and nothing grows with the number of sites.
"""

import math

import numpy as np

from fl.adapter import Adapter, moved_by
from fl.aggregation.aggregator import Aggregated, Inputs
from fl.aggregation.layers import check_update
from fl.errors import FederationError
from fl.sharing import factors_of
from fl.update import AdapterUpdate


class FactorMean:
    """Running weighted sums of the deltas of `factors`: "A", "B" or "AB"."""

    def __init__(self, inputs: Inputs, factors: str, *, error: float) -> None:
        """`error` is what the method leaves whatever the updates are: 0, or nan if undefined."""
        self._release, self._factors, self._error = inputs.release, factors, error
        self._rank = inputs.rank
        self._weights = 0.0
        sent = factors_of(inputs.release, factors)
        self._sums = {name: np.zeros(t.shape) for name, t in sent.tensors.items()}

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Add one admitted update; its weight is num_examples unless another is given."""
        check_update(update, self._release, factors=self._factors, rank=self._rank)
        weight = float(update.num_examples if weight is None else weight)
        assert 0 < weight < math.inf, weight
        self._weights += weight
        for name, tensor in update.delta.tensors.items():
            self._sums[name] += np.multiply(tensor, weight, dtype=np.float64)

    def finish(self) -> Aggregated:
        """The release moved by the mean delta."""
        delta = self.mean()
        return Aggregated(shared=moved_by(self._release, delta), delta=delta, error=self._error)

    def mean(self) -> Adapter:
        """The mean delta. Raises FederationError when no update was added."""
        if self._weights <= 0:
            raise FederationError("There is nothing to aggregate: no update was added.")
        return Adapter(
            spec=self._release.spec,
            tensors={
                name: (total / self._weights).astype(np.float32)
                for name, total in self._sums.items()
            },
        )
