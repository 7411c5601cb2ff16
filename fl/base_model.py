"""Where a base model lies and what it is, read from its files alone (no torch, no transformers).

A base model is an ordinary Hugging Face folder: config.json, safetensors (sharded or not), a
tokenizer. `embedded` models are made by server/foundation under var/foundation/<side>-<key>, where
the key is a digest of the public corpus and the settings that made them.
"""

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from fl.errors import BaseModelError
from fl.settings import FoundationSettings, Settings, resolve

Side = Literal["edge", "cloud"]


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """Facts of a base model that adapters depend on."""

    folder: Path
    fingerprint: str  # sha256 over config.json and every safetensors file
    fan_in_fan_out: bool  # True for GPT-2, whose Conv1D stores W as (d_in, d_out)
    layers: Mapping[str, tuple[int, int]]  # adapted module name -> (d_out, d_in)


def base_folder(settings: Settings, side: Side) -> Path:
    """The folder of the configured base model of this side; it need not exist yet."""
    model = settings.edge.model if side == "edge" else settings.cloud.model
    if model == "embedded":
        key = _foundation_key(settings.foundation, side)
        return settings.var_dir / "foundation" / f"{side}-{key}"
    if model == "none":
        raise BaseModelError(f"{side}.model is none: these settings have no {side} model.")
    local = resolve(model)
    return local if local.exists() else _from_hub(model, side)


def read_base(folder: Path, target_modules: Sequence[str]) -> BaseModel:
    """Read fingerprint and the shapes of the layers that get LoRA.

    Raises BaseModelError where the folder is no model, or where a target matches no layer.
    """
    config_file = folder / "config.json"
    files = sorted(folder.glob("*.safetensors"))
    if not config_file.is_file() or not files:
        raise BaseModelError(
            f"{folder} holds no base model: expected config.json and *.safetensors. "
            "Run ./run.sh foundation, or name a hub model or local folder (edge.model=...)."
        )
    config = json.loads(config_file.read_text())
    gpt2 = config.get("model_type") == "gpt2"
    layers: dict[str, tuple[int, int]] = {}
    for file in files:
        for name, shape in _tensor_shapes(file).items():
            module, _, leaf = name.rpartition(".")
            if leaf == "weight" and len(shape) == 2 and _matches(module, target_modules):
                if gpt2 and not module.startswith("transformer."):
                    module = "transformer." + module
                layers[module] = (shape[1], shape[0]) if gpt2 else (shape[0], shape[1])
    for target in target_modules:
        if not any(_matches(module, [target]) for module in layers):
            raise BaseModelError(
                f"target_modules names {target!r}, but {folder} has no such layer."
            )
    return BaseModel(
        folder=folder,
        fingerprint=fingerprint(folder),
        fan_in_fan_out=gpt2,
        layers=layers,
    )


def fingerprint(folder: Path) -> str:
    """sha256 over config.json and the safetensors files of a model folder, hex."""
    stamps = tuple(
        (str(file), file.stat().st_size, file.stat().st_mtime_ns)
        for file in [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    )
    return _digest_files(stamps)


@lru_cache(maxsize=16)
def _digest_files(stamps: tuple[tuple[str, int, int], ...]) -> str:
    sha = hashlib.sha256()
    for name, _, _ in stamps:
        with open(name, "rb") as file:
            sha.update(hashlib.file_digest(file, "sha256").digest())
    return sha.hexdigest()


def _matches(module: str, targets: Sequence[str]) -> bool:
    return module.rsplit(".", 1)[-1] in targets


def _tensor_shapes(file: Path) -> dict[str, list[int]]:
    """Names and shapes from a safetensors header: 8 bytes of length, then JSON."""
    with open(file, "rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}


def _from_hub(model: str, side: Side) -> Path:
    """Download (or find in the cache) a hub model; the only place that asks the network."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(model, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"])
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, HFValidationError, OSError) as error:
        raise BaseModelError(
            f"{side}.model={model!r} is neither a local folder nor to be had from the hub "
            f"({type(error).__name__}). Give the path of a folder made by save_pretrained, "
            f"or {side}.model=embedded."
        ) from None


@lru_cache(maxsize=8)
def _foundation_key(foundation: FoundationSettings, side: Side) -> str:
    """12 hex digits over everything that decides the model: its corpus, shape and seed."""
    from fl.demo_world.corpus import corpus_digest

    parts = {
        "corpus": corpus_digest(foundation, side),
        "shape": asdict(foundation.edge if side == "edge" else foundation.cloud),
        "seed": foundation.seed,
        "recipe": 1,  # raise it when server/foundation trains differently
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
