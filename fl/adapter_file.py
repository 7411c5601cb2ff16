"""An adapter as a PEFT folder: adapter_config.json and adapter_model.safetensors, nothing else.

`PeftModel.from_pretrained(base, folder)` loads what `write` writes. PEFT has no field for the base
model's fingerprint and warns about keys it does not know, so the fingerprint travels as the name of
the base model in the configuration and once more in the tensor file's metadata; `read` wants both
to agree. Reading trusts nothing: sizes are bounded before anything is parsed.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter, AdapterSpec, Array
from fl.errors import AdapterError

CONFIG_FILE = "adapter_config.json"
TENSOR_FILE = "adapter_model.safetensors"

_BASE_PREFIX = "netgpt-base-"  # base_model_name_or_path = prefix + fingerprint
_FINGERPRINT_KEY = "netgpt_base_fingerprint"  # in the safetensors metadata
_MAX_CONFIG_BYTES = 1 << 20
_MAX_HEADER_BYTES = 8 << 20
_MAX_TENSOR_BYTES = 4 << 30


def adapter_files(adapter: Adapter) -> dict[str, bytes]:
    """Both files by name; equal adapters give equal bytes."""
    config = json.dumps(_peft_config(adapter.spec), indent=2, sort_keys=True) + "\n"
    tensors = {
        name: np.ascontiguousarray(tensor, dtype=np.float32)
        for name, tensor in sorted(adapter.tensors.items())
    }
    # "format" is what transformers and PEFT expect there; it names the layout, not a library used.
    metadata = {"format": "pt", _FINGERPRINT_KEY: adapter.spec.base_model_fingerprint}
    saved = save(tensors, metadata=metadata)
    return {CONFIG_FILE: config.encode(), TENSOR_FILE: _with_sorted_header(saved)}


def write(folder: Path, adapter: Adapter) -> None:
    """Write both files into `folder`, which is made when missing.

    Not atomic: a caller that publishes writes into a folder of its own and renames it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in adapter_files(adapter).items():
        (folder / name).write_bytes(data)


def read(folder: Path) -> Adapter:
    """Read a folder that `write` wrote; raise AdapterError naming the file and what is wrong."""
    spec = _read_spec(folder / CONFIG_FILE)
    tensors = _read_tensors(folder / TENSOR_FILE, spec)
    return Adapter(spec=spec, tensors=tensors)


def _peft_config(spec: AdapterSpec) -> dict[str, Any]:
    """The LoraConfig fields that decide what the tensors mean; PEFT fills in the rest."""
    return {
        "base_model_name_or_path": _BASE_PREFIX + spec.base_model_fingerprint,
        "bias": "none",
        "fan_in_fan_out": spec.fan_in_fan_out,
        "inference_mode": True,
        "lora_alpha": spec.alpha,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": spec.rank,
        "target_modules": list(spec.target_modules),
        "task_type": "CAUSAL_LM",
    }


def _read_spec(file: Path) -> AdapterSpec:
    if not file.is_file():
        raise AdapterError(f"{file.parent} holds no adapter: {file.name} is missing.")
    if file.stat().st_size > _MAX_CONFIG_BYTES:
        raise AdapterError(f"{file} is larger than {_MAX_CONFIG_BYTES} bytes; not read.")
    try:
        config = json.loads(file.read_text())
    except ValueError as error:
        raise AdapterError(f"{file} is not JSON: {error}") from None
    if not isinstance(config, dict):
        raise AdapterError(f"{file} must hold an object, found {type(config).__name__}.")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str) or not base.startswith(_BASE_PREFIX):
        raise AdapterError(
            f"{file} names no base fingerprint: expected base_model_name_or_path = "
            f"{_BASE_PREFIX}<sha256>, found {base!r}."
        )
    rank, alpha, targets = config.get("r"), config.get("lora_alpha"), config.get("target_modules")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise AdapterError(f"{file}: r must be a whole number above 0, found {rank!r}.")
    if not isinstance(alpha, int | float) or not 0 < alpha < math.inf:
        raise AdapterError(f"{file}: lora_alpha must be a number above 0, found {alpha!r}.")
    if not isinstance(targets, list) or not all(isinstance(t, str) for t in targets):
        raise AdapterError(f"{file}: target_modules must be a list of names, found {targets!r}.")
    return AdapterSpec(
        base_model_fingerprint=base.removeprefix(_BASE_PREFIX),
        rank=rank,
        alpha=float(alpha),
        target_modules=tuple(targets),
        fan_in_fan_out=bool(config.get("fan_in_fan_out", False)),
    )


def _read_tensors(file: Path, spec: AdapterSpec) -> dict[str, Array]:
    _check_size(file)
    try:
        with safe_open(file, framework="np") as opened:
            found = (opened.metadata() or {}).get(_FINGERPRINT_KEY)
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise AdapterError(f"{file} cannot be read as safetensors: {error}") from None
    if found != spec.base_model_fingerprint:
        raise AdapterError(
            f"{file} was made for base {found}, its configuration says "
            f"{spec.base_model_fingerprint}: the files do not belong together."
        )
    for name, tensor in tensors.items():
        _check_tensor(file, name, tensor, spec)
    return tensors


def _check_size(file: Path) -> None:
    """Bound file and header before parsing: a huge header is costly to parse."""
    if not file.is_file():
        raise AdapterError(f"{file.parent} holds no adapter: {file.name} is missing.")
    size = file.stat().st_size
    if not 8 < size <= _MAX_TENSOR_BYTES:
        raise AdapterError(f"{file} has {size} bytes; expected 9 to {_MAX_TENSOR_BYTES}.")
    with open(file, "rb") as stream:
        (header,) = struct.unpack("<Q", stream.read(8))
    if header > min(size, _MAX_HEADER_BYTES):
        raise AdapterError(f"{file} claims a header of {header} bytes; the file is damaged.")


def _check_tensor(file: Path, name: str, tensor: Array, spec: AdapterSpec) -> None:
    """Names, dtype, rank and finiteness: PEFT itself would load NaN and ignore odd names."""
    if not name.endswith((A_SUFFIX, B_SUFFIX)):
        raise AdapterError(f"{file}: {name} is no LoRA tensor of ours.")
    if tensor.dtype != np.float32 or tensor.ndim != 2:
        raise AdapterError(
            f"{file}: {name} must be a float32 matrix, found {tensor.dtype} {tensor.shape}."
        )
    rank = tensor.shape[0 if name.endswith(A_SUFFIX) else 1]
    if rank != spec.rank:
        raise AdapterError(f"{file}: {name} has rank {rank}, its configuration says {spec.rank}.")
    if not np.isfinite(tensor).all():
        raise AdapterError(f"{file}: {name} holds NaN or infinity.")


def _with_sorted_header(tensors: bytes) -> bytes:
    """safetensors writes its metadata in the random order of a hash map; sort the header's keys."""
    (size,) = struct.unpack_from("<Q", tensors)
    header = json.dumps(json.loads(tensors[8 : 8 + size]), sort_keys=True, separators=(",", ":"))
    padded = header.encode().ljust(-(-len(header) // 8) * 8)  # tensors start at a multiple of 8
    return struct.pack("<Q", len(padded)) + padded + tensors[8 + size :]
