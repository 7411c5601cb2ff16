"""A weighted sum of products, kept as factors while that is smaller than the dense matrix.

Every pair that is added makes the stack longer. When it has as many directions as the matrix is
thin, it is multiplied out: from then on one dense (d_out, d_in) matrix holds the sum, and nothing
grows with the number of sites. A dense M is the pair (I, M). What waits is kept in float32, as
updates are sent; products and their sum are in float64.
"""

import math
from collections.abc import Mapping

import numpy as np

from fl.adapter import Array
from fl.aggregation.layers import Matrix, Pair
from fl.errors import FederationError
from fl.update import AdapterUpdate

_TOGETHER = 128  # directions that are multiplied at once when the sum is dense; fewer are slower


class ProductSum:
    """sum of weight * B A of one layer."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Array, Array]] = []
        self._directions = 0
        self._dense: Matrix | None = None  # (d_out, d_in)

    def add(self, pair: Pair, weight: float) -> None:
        """Add weight * B A; the weight enters once, in B."""
        a, b = pair
        self._waiting.append((a.astype(np.float32), (b * weight).astype(np.float32)))
        self._directions += len(a)
        thin = min(a.shape[1], b.shape[0])
        if self._directions >= (thin if self._dense is None else min(thin, _TOGETHER)):
            self._multiply()

    def pair(self) -> Pair:
        """The sum as one pair; of as many directions as were added, or of d_in of them."""
        if self._dense is None:
            return self._stack()
        if self._waiting:
            self._multiply()
        return np.eye(self._dense.shape[1]), self._dense

    def _stack(self) -> Pair:
        a = np.concatenate([a for a, _ in self._waiting]).astype(np.float64)
        b = np.concatenate([b for _, b in self._waiting], axis=1).astype(np.float64)
        return a, b

    def _multiply(self) -> None:
        a, b = self._stack()
        product = b @ a
        if self._dense is None:
            self._dense = product
        else:
            self._dense += product
        self._waiting.clear()
        self._directions = 0


class ProductMean:
    """sum p_k B_k A_k of all layers, p_k the updates' shares of the weight."""

    def __init__(self) -> None:
        self._sums: dict[str, ProductSum] = {}
        self._weights = 0.0

    def add(
        self, pairs: Mapping[str, Pair], update: AdapterUpdate, *, weight: float | None = None
    ) -> None:
        """Add the pairs of an update; its weight is num_examples unless another is given."""
        weight = float(update.num_examples if weight is None else weight)
        assert 0 < weight < math.inf, weight
        self._weights += weight
        for layer, pair in pairs.items():
            self._sums.setdefault(layer, ProductSum()).add(pair, weight)

    def pairs(self) -> dict[str, Pair]:
        """The mean of every layer as one pair. Raises FederationError when nothing was added."""
        if self._weights <= 0:
            raise FederationError("There is nothing to aggregate: no update was added.")
        found = {layer: products.pair() for layer, products in self._sums.items()}
        return {layer: (a, b / self._weights) for layer, (a, b) in found.items()}
