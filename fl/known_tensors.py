"""Tensors of a release that its receiver can make itself, and that need not travel.

All zeros: B of the first release, and always B of fedsa, whose B stays at the sites. As first
drawn: A of the first release, and always A of ffa, which is never trained. The receiver fills them
in and then checks the release's signature, which covers every number of it.
"""

from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from fl.adapter import (
    A_SUFFIX,
    B_SUFFIX,
    PEFT_PREFIX,
    Adapter,
    AdapterSpec,
    Array,
    initial_adapter,
)
from fl.errors import UpdateRefused

_MOST_NUMBERS = 1 << 28  # of one tensor that is filled in

Layers = tuple[tuple[str, int, int], ...]  # (module, d_out, d_in), sorted


def to_send(shared: Adapter, *, seed: int) -> Mapping[str, Array]:
    """The tensors of a release that must travel; `seed` is that of the first release."""
    first = _drawn(shared.spec, _layers(shared), seed).tensors
    return {name: t for name, t in shared.tensors.items() if not _same(t, first[name])}


def layer_sizes(shared: Adapter) -> dict[str, list[int]]:
    """Module -> [d_out, d_in], what `filled` needs beside the tensors."""
    return {module: [d_out, d_in] for module, d_out, d_in in _layers(shared)}


def filled(
    sent: Mapping[str, Array], spec: AdapterSpec, sizes: Mapping[str, object], *, seed: int
) -> Adapter:
    """The whole release. Raises UpdateRefused for sizes that are none."""
    layers = tuple(sorted((module, *_pair(size, spec)) for module, size in sizes.items()))
    first = _drawn(spec, layers, seed).tensors
    if odd := sent.keys() - first.keys():
        raise UpdateRefused(f"{len(odd)} tensors belong to no layer")
    return Adapter(
        spec=spec,
        tensors={name: sent.get(name, tensor) for name, tensor in first.items()},
    )


def _same(tensor: Array, first: Array) -> bool:
    """Bit by bit: -0 is equal to 0, and not the same for a signature."""
    return tensor.shape == first.shape and bool(
        (tensor.view(np.uint32) == first.view(np.uint32)).all()
    )


def _layers(shared: Adapter) -> Layers:
    found = []
    for name, a in shared.tensors.items():
        if name.endswith(A_SUFFIX):
            layer = name.removesuffix(A_SUFFIX)
            b = shared.tensors[layer + B_SUFFIX]
            found.append((layer.removeprefix(PEFT_PREFIX), b.shape[0], a.shape[1]))
    return tuple(sorted(found))


def _pair(size: object, spec: AdapterSpec) -> tuple[int, int]:
    if not isinstance(size, list) or len(size) != 2 or type(spec.rank) is not int:
        raise UpdateRefused("the sizes of a layer are no pair of numbers")
    d_out, d_in = size
    for number in (d_out, d_in, spec.rank):
        if type(number) is not int or number < 1:
            raise UpdateRefused("the sizes of a layer are no whole numbers above 0")
    if max(d_out, d_in) * spec.rank > _MOST_NUMBERS:
        raise UpdateRefused("a layer would be larger than any model's")
    return d_out, d_in


@lru_cache(maxsize=4)
def _drawn(spec: AdapterSpec, layers: Layers, seed: int) -> Adapter:
    """What every federation of this seed starts with."""
    return initial_adapter(
        spec, {module: (d_out, d_in) for module, d_out, d_in in layers}, seed=seed
    )
