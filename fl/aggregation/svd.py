"""The best approximation of a sum of products by fewer directions, without the dense product.

For a stacked pair (A, B) of rank R (methods: QR-SVD):
    B = Qb Rb,   A^T = Qa Ra,   svd(Rb Ra^T) = U' S V'^T,   B A = (Qb U') S (Qa V')^T
What is decomposed is (R, R). The first r directions are the best approximation of rank r in the
Frobenius norm (Eckart and Young), and what is lost is sqrt(sum of S_i^2 for i > r).
"""

from dataclasses import dataclass

import numpy as np

from fl.aggregation.layers import Matrix, Pair


@dataclass(frozen=True, kw_only=True)
class Decomposed:
    """B A = left diag(sizes) right, the largest first; signs fixed, so it is reproducible."""

    left: Matrix  # (d_out, k), orthonormal columns
    sizes: Matrix  # (k,), singular values
    right: Matrix  # (k, d_in), orthonormal rows; the largest entry of each is positive

    def pair(self, rank: int) -> Pair:
        """The first `rank` directions as (A, B): the sizes stand in B alone.

        A direction of size 0 can so still learn: A is not zero there.
        """
        return self.right[:rank], self.left[:, :rank] * self.sizes[:rank]

    def lost_squared(self, rank: int) -> float:
        """||B A - first `rank` directions||_F^2."""
        return float(np.sum(self.sizes[rank:] ** 2))


def decompose(pair: Pair) -> Decomposed:
    """Decompose the product of a pair; k = min(R, d_in, d_out)."""
    a, b = pair
    q_b, r_b = np.linalg.qr(b)
    q_a, r_a = np.linalg.qr(a.T)
    u, sizes, v_t = np.linalg.svd(r_b @ r_a.T, full_matrices=False)
    left, right = q_b @ u, v_t @ q_a.T
    largest = np.argmax(np.abs(right), axis=1)
    signs = np.where(right[np.arange(len(right)), largest] < 0, -1.0, 1.0)
    return Decomposed(left=left * signs, sizes=sizes, right=right * signs[:, None])
