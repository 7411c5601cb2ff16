"""An update's numbers on the wire: float32 as they are, float16, or int8 with scales.

int8: every direction of a factor (a row of A, a column of B) has a scale of its own,
    scale = max |w| / 127,   q = round(w / scale),   what the cloud sees = q * scale
so a weak direction is rounded as finely as a strong one. What rounding took away can be added to
the next update of the same factors (error feedback, Karimireddy et al., 1901.09847): `pack` says
what the cloud will see, and the site keeps the difference.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fl.adapter import A_SUFFIX, Adapter, AdapterSpec, Array
from fl.errors import UpdateRefused

UPLINKS = ("float32", "float16", "int8")
SCALE = ".scale"  # after a tensor's name: (r,) float32, of its directions
_LARGEST = 127
_FLOAT16_MAX = float(np.finfo(np.float16).max)


@dataclass(frozen=True, kw_only=True)
class Packed:
    """An update's tensors as they travel; with int8 every tensor has its scales beside it."""

    uplink: str
    arrays: Mapping[str, npt.NDArray[Any]]


def pack(delta: Adapter, uplink: str) -> Packed:
    """The tensors of `delta` as `uplink` sends them."""
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, tensor in delta.tensors.items():
        if uplink == "int8":
            scale = _scales(name, tensor)
            safe = np.where(scale > 0, scale, np.float32(1))
            arrays[name] = np.rint(tensor / _along(name, safe)).astype(np.int8)
            arrays[name + SCALE] = scale
        elif uplink == "float16":
            arrays[name] = np.clip(tensor, -_FLOAT16_MAX, _FLOAT16_MAX).astype(np.float16)
        else:
            arrays[name] = tensor
    return Packed(uplink=uplink, arrays=arrays)


def unpack(packed: Packed, spec: AdapterSpec) -> Adapter:
    """What the cloud sees: float32 tensors. Raises UpdateRefused where they do not fit together."""
    tensors: dict[str, Array] = {}
    expected = np.dtype(packed.uplink) if packed.uplink in UPLINKS else None
    for name, array in packed.arrays.items():
        if packed.uplink == "int8" and name.endswith(SCALE):
            continue
        if array.dtype != expected:
            raise UpdateRefused(f"a tensor has dtype {array.dtype}, expected {packed.uplink}")
        if packed.uplink == "int8":
            tensors[name] = array * _along(name, _sent_scales(packed, name, array))
        else:
            tensors[name] = array.astype(np.float32)
    if packed.uplink == "int8" and len(packed.arrays) != 2 * len(tensors):
        raise UpdateRefused("there are scales without a tensor")
    return Adapter(spec=spec, tensors=tensors)


def _scales(name: str, tensor: Array) -> Array:
    """(r,) float32: of the rows of A, of the columns of B."""
    largest: Array = np.abs(tensor).max(axis=1 if name.endswith(A_SUFFIX) else 0, initial=0)
    return (largest / np.float32(_LARGEST)).astype(np.float32)


def _sent_scales(packed: Packed, name: str, array: npt.NDArray[Any]) -> Array:
    scale = packed.arrays.get(name + SCALE)
    directions = array.shape[:1] if name.endswith(A_SUFFIX) else array.shape[1:]
    if scale is None or scale.dtype != np.float32 or scale.shape != directions or array.ndim != 2:
        raise UpdateRefused("the scales of a tensor are missing or of another shape")
    if not (scale >= 0).all():
        raise UpdateRefused("a scale is negative or no number")
    return scale


def _along(name: str, scale: Array) -> Array:
    """(r, 1) for A, (1, r) for B."""
    return scale[:, None] if name.endswith(A_SUFFIX) else scale[None, :]
