"""An adapter on disk: a PEFT folder that PEFT loads, and nothing else gets in."""

import json
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fl import adapter_file
from fl.adapter import Adapter, digest, initial_adapter
from fl.adapter_file import CONFIG_FILE, TENSOR_FILE
from fl.base_model import read_base
from fl.errors import AdapterError
from tests.fl.adapters import drawn
from tests.tiny_models import make_tiny_edge


def test_what_is_written_is_read(tmp_path: Path) -> None:
    adapter = drawn(3)
    adapter_file.write(tmp_path / "a", adapter)
    assert digest(adapter_file.read(tmp_path / "a")) == digest(adapter)
    assert {f.name for f in (tmp_path / "a").iterdir()} == {CONFIG_FILE, TENSOR_FILE}


def test_peft_loads_it_without_a_warning_and_sees_the_same_numbers(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import GPT2LMHeadModel

    base_folder = make_tiny_edge(tmp_path / "base")
    base = read_base(base_folder, ["c_attn"])
    spec = replace(
        drawn(0).spec, base_model_fingerprint=base.fingerprint, target_modules=("c_attn",)
    )
    adapter = initial_adapter(spec, base.layers, seed=5)
    adapter_file.write(tmp_path / "adapter", adapter)

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # PEFT warns about keys it does not know
        model = PeftModel.from_pretrained(
            GPT2LMHeadModel.from_pretrained(base_folder), str(tmp_path / "adapter")
        )

    loaded = {
        name.replace(".default", ""): tensor.detach().numpy()
        for name, tensor in model.named_parameters()
        if ".lora_" in name
    }
    assert loaded.keys() == adapter.tensors.keys()
    for name, tensor in adapter.tensors.items():
        np.testing.assert_array_equal(loaded[name], tensor)
    layer = model.base_model.model.transformer.h[0].attn.c_attn
    assert layer.scaling["default"] == spec.scale


def _edit_config(key: str, value: object) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        file = folder / CONFIG_FILE
        file.write_text(json.dumps({**json.loads(file.read_text()), key: value}))

    return edit


def _write_tensors(change: Callable[[Adapter], Adapter]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = (folder / CONFIG_FILE).read_text()
        adapter_file.write(folder, change(drawn(3)))
        (folder / CONFIG_FILE).write_text(config)

    return edit


def _with_nan(adapter: Adapter) -> Adapter:
    name = next(iter(adapter.tensors))
    broken = adapter.tensors[name].copy()
    broken[0, 0] = np.nan
    return replace(adapter, tensors={**adapter.tensors, name: broken})


def _other_base(adapter: Adapter) -> Adapter:
    return replace(adapter, spec=replace(adapter.spec, base_model_fingerprint="1" * 64))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / CONFIG_FILE).unlink(), "adapter_config.json is missing"),
        (lambda folder: (folder / TENSOR_FILE).unlink(), "adapter_model.safetensors is missing"),
        (lambda folder: (folder / CONFIG_FILE).write_text("{"), "not JSON"),
        (lambda folder: (folder / CONFIG_FILE).write_text("[]"), "must hold an object"),
        (_edit_config("base_model_name_or_path", "gpt2"), "names no base fingerprint"),
        (_edit_config("r", True), "r must be a whole number"),
        (_edit_config("r", 4), "has rank 2, its configuration says 4"),
        (_edit_config("lora_alpha", float("nan")), "lora_alpha must be a number above 0"),
        (_edit_config("target_modules", "all-linear"), "target_modules must be a list"),
        (lambda folder: (folder / TENSOR_FILE).write_bytes(b"\xff" * 64), "file is damaged"),
        (lambda folder: _cut(folder / TENSOR_FILE), "cannot be read as safetensors"),
        (_write_tensors(_with_nan), "NaN or infinity"),
        (_write_tensors(_other_base), "do not belong together"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Callable[[Path], None], said: str) -> None:
    adapter_file.write(tmp_path, drawn(3))
    damage(tmp_path)
    with pytest.raises(AdapterError, match=said):
        adapter_file.read(tmp_path)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])
