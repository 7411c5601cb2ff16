"""A weighted sum of products, kept as factors while that is smaller than the dense matrix.

Every pair that is added makes the stack longer. When it has as many directions as the matrix is
thin, it is multiplied out: from then on one dense (d_out, d_in) matrix holds the sum, and nothing
grows with the number of sites. A dense M is the pair (I, M).
"""

import numpy as np

from fl.aggregation.layers import Matrix, Pair, stacked


class ProductSum:
    """sum of weight * B A of one layer."""

    def __init__(self) -> None:
        self._waiting: list[Pair] = []
        self._directions = 0
        self._dense: Matrix | None = None  # (d_out, d_in)

    def add(self, pair: Pair, weight: float) -> None:
        """Add weight * B A; the weight enters once, in B."""
        a, b = pair
        self._waiting.append((a, b * weight))
        self._directions += len(a)
        if self._directions >= min(a.shape[1], b.shape[0]):
            self._multiply()

    def pair(self) -> Pair:
        """The sum as one pair; of as many directions as were added, or of d_in of them."""
        if self._dense is None:
            return stacked(self._waiting)
        if self._waiting:
            self._multiply()
        return np.eye(self._dense.shape[1]), self._dense

    def _multiply(self) -> None:
        a, b = stacked(self._waiting)
        product = b @ a
        self._dense = product if self._dense is None else self._dense + product
        self._waiting.clear()
        self._directions = 0
