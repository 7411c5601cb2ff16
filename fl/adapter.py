"""A LoRA adapter as plain arrays, and the few operations everything else is written with.

Shapes: r = rank, d_in / d_out = the width of the adapted layer's input / output.
A layer's update of its weight is  scale * B @ A  with A (r, d_in), B (d_out, r),
scale = alpha / r (Hu et al., 2106.09685). Tensor names are PEFT's state-dict names, for instance
`base_model.model.transformer.h.0.attn.c_attn.lora_A.weight`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fl.errors import AdapterError

Array = npt.NDArray[np.float32]

A_SUFFIX = ".lora_A.weight"
B_SUFFIX = ".lora_B.weight"
PEFT_PREFIX = "base_model.model."


@dataclass(frozen=True, kw_only=True)
class AdapterSpec:
    """What two adapters must agree on before their numbers mean the same thing."""

    base_model_fingerprint: str  # sha256 of the base model's configuration and weights
    rank: int
    alpha: float
    target_modules: tuple[str, ...]  # last parts of the adapted modules' names, sorted
    fan_in_fan_out: bool = True  # True where the base stores W as (d_in, d_out), GPT-2's Conv1D

    @property
    def scale(self) -> float:
        """alpha / rank, the factor of B @ A."""
        return self.alpha / self.rank


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """Adapter tensors with their spec. `tensors` maps PEFT names to float32 arrays."""

    spec: AdapterSpec
    tensors: Mapping[str, Array]  # lora_A (r, d_in), lora_B (d_out, r)

    @property
    def num_bytes(self) -> int:
        """Size of all tensors in bytes."""
        return sum(t.nbytes for t in self.tensors.values())


def initial_adapter(
    spec: AdapterSpec, layers: Mapping[str, tuple[int, int]], *, seed: int
) -> Adapter:
    """Draw a new adapter that changes nothing yet: A uniform as PEFT draws it, B zero.

    `layers` maps a module name (`transformer.h.0.attn.c_attn`) to its (d_out, d_in).
    """
    rng = np.random.default_rng(seed)
    tensors: dict[str, Array] = {}
    for module in sorted(layers):
        d_out, d_in = layers[module]
        bound = 1.0 / np.sqrt(d_in)
        tensors[PEFT_PREFIX + module + A_SUFFIX] = rng.uniform(
            -bound, bound, size=(spec.rank, d_in)
        ).astype(np.float32)
        tensors[PEFT_PREFIX + module + B_SUFFIX] = np.zeros((d_out, spec.rank), np.float32)
    return Adapter(spec=spec, tensors=tensors)


def check_alike(one: Adapter, other: Adapter, *, what: str) -> None:
    """Raise AdapterError unless both have one spec, the same names and the same shapes."""
    if one.spec != other.spec:
        raise AdapterError(f"{what}: the specs differ: {one.spec} and {other.spec}")
    if one.tensors.keys() != other.tensors.keys():
        odd = sorted(one.tensors.keys() ^ other.tensors.keys())
        raise AdapterError(f"{what}: {len(odd)} tensor names differ, the first is {odd[0]}")
    for name, tensor in one.tensors.items():
        if tensor.shape != other.tensors[name].shape:
            raise AdapterError(
                f"{what}: {name} has shape {tensor.shape} and {other.tensors[name].shape}"
            )


def subtract(one: Adapter, other: Adapter) -> Adapter:
    """one - other, tensor by tensor: the delta a site sends."""
    check_alike(one, other, what="subtract")
    return Adapter(spec=one.spec, tensors={n: t - other.tensors[n] for n, t in one.tensors.items()})


def add(one: Adapter, other: Adapter) -> Adapter:
    """one + other, tensor by tensor: a release moved by a combined delta."""
    check_alike(one, other, what="add")
    return Adapter(spec=one.spec, tensors={n: t + other.tensors[n] for n, t in one.tensors.items()})


def moved_by(adapter: Adapter, delta: Adapter) -> Adapter:
    """The adapter with `delta` added to the tensors that it has; the others stay as they are."""
    tensors = {
        n: t + delta.tensors[n] if n in delta.tensors else t for n, t in adapter.tensors.items()
    }
    return Adapter(spec=adapter.spec, tensors=tensors)


def norm(adapter: Adapter) -> float:
    """Euclidean norm over all tensors together, in float64."""
    return float(
        np.sqrt(
            sum(float(np.sum(np.square(t, dtype=np.float64))) for t in adapter.tensors.values())
        )
    )


def digest(adapter: Adapter) -> str:
    """sha256 over the spec and every tensor's name, shape and bytes; equal bytes, equal digest."""
    sha = hashlib.sha256(repr(adapter.spec).encode())
    for name in sorted(adapter.tensors):
        tensor = np.ascontiguousarray(adapter.tensors[name], dtype=np.float32)
        sha.update(f"{name}{tensor.shape}".encode())
        sha.update(tensor.tobytes())
    return sha.hexdigest()
