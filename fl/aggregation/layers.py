"""Adapters layer by layer, as pairs of factors: the form all products are taken in.

A pair (A, B) has A (r, d_in) and B (d_out, r); its product is B A (d_out, d_in), without the scale.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter, AdapterSpec, Array
from fl.errors import AdapterError
from fl.sharing import same_but_rank
from fl.update import AdapterUpdate

Matrix = npt.NDArray[np.float64]
Pair = tuple[Matrix, Matrix]  # (A, B)


def layers_of(adapter: Adapter) -> list[str]:
    """Names of the adapted layers, in the order of the tensors."""
    suffix = A_SUFFIX if any(n.endswith(A_SUFFIX) for n in adapter.tensors) else B_SUFFIX
    return [n.removesuffix(suffix) for n in adapter.tensors if n.endswith(suffix)]


def pair_of(adapter: Adapter, layer: str) -> Pair:
    """A and B of one layer, float64."""
    return (
        adapter.tensors[layer + A_SUFFIX].astype(np.float64),
        adapter.tensors[layer + B_SUFFIX].astype(np.float64),
    )


def adapter_of(
    spec: AdapterSpec, pairs: Mapping[str, tuple[Matrix | Array, Matrix | Array]]
) -> Adapter:
    """The adapter of these pairs, float32."""
    tensors: dict[str, Array] = {}
    for layer, (a, b) in pairs.items():
        tensors[layer + A_SUFFIX] = a.astype(np.float32)
        tensors[layer + B_SUFFIX] = b.astype(np.float32)
    return Adapter(spec=spec, tensors=tensors)


def stacked(pairs: Sequence[Pair]) -> Pair:
    """Pairs side by side: the product is the sum of their products."""
    return (
        np.concatenate([a for a, _ in pairs]),
        np.concatenate([b for _, b in pairs], axis=1),
    )


def squared_norm(pair: Pair) -> float:
    """||B A||_F^2 without the product: sum((B^T B) o (A A^T)), two (r, r) Gram matrices."""
    a, b = pair
    return max(0.0, float(np.sum((b.T @ b) * (a @ a.T))))


def check_update(
    update: AdapterUpdate, release: Adapter, *, factors: str, rank: int, mixed: bool = False
) -> None:
    """Raise AdapterError unless the update has exactly these factors, in a rank that is taken."""
    spec, site = update.delta.spec, update.site_id
    if spec.base_model_fingerprint != release.spec.base_model_fingerprint or (
        not mixed and not same_but_rank(spec, release.spec)
    ):
        raise AdapterError(f"update of {site}: the specs differ: {spec} and {release.spec}")
    if not 1 <= spec.rank <= rank or (spec.rank != rank and not mixed):
        raise AdapterError(f"update of {site}: the specs differ: rank {spec.rank}, expected {rank}")
    expected = {}
    for layer in layers_of(release):
        if "A" in factors:
            d_in = release.tensors[layer + A_SUFFIX].shape[1]
            expected[layer + A_SUFFIX] = (spec.rank, d_in)
        if "B" in factors:
            d_out = release.tensors[layer + B_SUFFIX].shape[0]
            expected[layer + B_SUFFIX] = (d_out, spec.rank)
    found = {name: tensor.shape for name, tensor in update.delta.tensors.items()}
    if found != expected:
        odd = sorted(dict(found.items() ^ expected.items()))
        raise AdapterError(
            f"update of {site}: {odd[0]} has shape {found.get(odd[0])}, "
            f"expected {expected.get(odd[0])}"
        )
