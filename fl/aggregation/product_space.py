"""Updates as changes of the product B A: the only place where sites can be compared.

(A, B) and (Q A, B Q^-1) are the same change of the model for any invertible Q, so distances between
factors mean nothing. The change of one layer's product, written as a pair without its dense matrix:
    B_k A_k - B_g A_g = dB A_k + B_g dA           A side [A_k; dA],  B side [dB, B_g]
and the inner product of two changes needs (r_i, r_j) matrices only:
    <P_i, P_j> = sum over layers of sum((A_i A_j^T) o (B_i^T B_j))
All in float64, in units of the release's scale.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter
from fl.aggregation.layers import Matrix, Pair, layers_of, pair_of
from fl.aggregation.turn import Turn
from fl.update import AdapterUpdate

Change = Mapping[str, Pair]  # layer -> pair whose product is what the site moved


def change(update: AdapterUpdate, release: Adapter, turn: Turn) -> Change:
    """What an update changes, layer by layer.

    Where only A travels and B stays at the site (fedsa), the cloud knows no product: the factor's
    own change stands for it, as the pair (dA, I).
    """
    delta = update.delta
    fold = delta.spec.scale / release.spec.scale
    found: dict[str, Pair] = {}
    for layer in layers_of(release):
        if turn.fresh:
            a, b = pair_of(delta, layer)
            found[layer] = (a, b * fold)
            continue
        directions = delta.spec.rank
        a_g, b_g = pair_of(release, layer)
        a_g, b_g = a_g[:directions], b_g[:, :directions]
        d_a = _factor(delta, layer + A_SUFFIX)
        d_b = _factor(delta, layer + B_SUFFIX)
        if d_b is not None and d_a is not None:
            both = np.concatenate([d_b * fold, b_g], axis=1)
            found[layer] = (np.concatenate([a_g + d_a, d_a]), both)
        elif d_b is not None:
            found[layer] = (a_g, d_b)
        else:
            assert d_a is not None
            found[layer] = (d_a, np.eye(directions) if turn.trains == "AB" else b_g)
    return found


def inner(one: Change, other: Change) -> float:
    """The inner product of two changes, summed over layers."""
    total = 0.0
    for layer, (a_i, b_i) in one.items():
        a_j, b_j = other[layer]
        total += float(np.sum((a_i @ a_j.T) * (b_i.T @ b_j)))
    return total


def gram(changes: Sequence[Change]) -> Matrix:
    """(K, K) inner products of K changes."""
    products = np.zeros((len(changes), len(changes)))
    for i, one in enumerate(changes):
        for j in range(i + 1):
            products[i, j] = products[j, i] = inner(one, changes[j])
    return products


def squared_distances(products: Matrix) -> Matrix:
    """(K, K) squared distances from inner products."""
    own = np.diag(products)
    return np.maximum(own[:, None] + own[None, :] - 2 * products, 0.0)


def _factor(delta: Adapter, name: str) -> Matrix | None:
    tensor = delta.tensors.get(name)
    return None if tensor is None else tensor.astype(np.float64)
