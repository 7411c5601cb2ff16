"""W + scale * B @ A against numpy; what does not belong to a model is refused before it acts."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from fl.adapter import A_SUFFIX, B_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec, initial_adapter
from fl.base_model import read_base
from fl.errors import AdapterError
from server.generation.adapter_merge import merge

TARGETS = ("down_proj", "q_proj", "v_proj")
LAYER = "model.layers.1.self_attn.v_proj"
A, B = PEFT_PREFIX + LAYER + A_SUFFIX, PEFT_PREFIX + LAYER + B_SUFFIX


def drawn(folder: Path, *, targets: tuple[str, ...] = TARGETS) -> Adapter:
    """An adapter for the model in this folder with no zero in it."""
    base = read_base(folder, targets)
    spec = AdapterSpec(
        base_model_fingerprint=base.fingerprint,
        rank=3,
        alpha=6.0,
        target_modules=targets,
        fan_in_fan_out=False,
    )
    first = initial_adapter(spec, base.layers, seed=0)
    rng = np.random.default_rng(7)
    tensors = {
        name: rng.normal(0, 0.3, tensor.shape).astype(np.float32)
        for name, tensor in sorted(first.tensors.items())
    }
    return Adapter(spec=spec, tensors=tensors)


def weights(network: Any) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in network.state_dict().items()}


def test_every_adapted_weight_is_the_sum_and_no_other_has_moved(tiny_cloud: Path) -> None:
    network, adapter = AutoModelForCausalLM.from_pretrained(tiny_cloud), drawn(tiny_cloud)
    before = weights(network)
    merge(network, adapter, fingerprint=adapter.spec.base_model_fingerprint)
    moved = 0
    for name, after in weights(network).items():
        module = PEFT_PREFIX + name.removesuffix(".weight")
        expected = before[name]
        if module + A_SUFFIX in adapter.tensors:
            a, b = adapter.tensors[module + A_SUFFIX], adapter.tensors[module + B_SUFFIX]
            expected = before[name] + 2.0 * (b.astype(np.float64) @ a)  # scale = 6 / 3
            moved += 1
            np.testing.assert_allclose(after, expected, atol=1e-6)
        else:
            np.testing.assert_array_equal(after, expected)
    assert moved == 6  # three layers of two blocks


def test_bfloat16_weights_are_rounded_once(tiny_cloud: Path) -> None:
    adapter = drawn(tiny_cloud)
    network = AutoModelForCausalLM.from_pretrained(tiny_cloud, dtype=torch.bfloat16)
    before = network.get_submodule(LAYER).weight.detach().float()
    merge(network, adapter, fingerprint=adapter.spec.base_model_fingerprint)
    exact = before + torch.from_numpy(2.0 * adapter.tensors[B] @ adapter.tensors[A])
    after = network.get_submodule(LAYER).weight
    assert after.dtype == torch.bfloat16
    assert torch.allclose(after.float(), exact, rtol=2**-8, atol=1e-6)


def _spec(**changes: Any) -> Callable[[Adapter], Adapter]:
    return lambda a: Adapter(spec=replace(a.spec, **changes), tensors=a.tensors)


def _tensors(change: Callable[[dict[str, Any]], object]) -> Callable[[Adapter], Adapter]:
    def changed(adapter: Adapter) -> Adapter:
        tensors = dict(adapter.tensors)
        change(tensors)
        return Adapter(spec=adapter.spec, tensors=tensors)

    return changed


REFUSED: dict[str, tuple[Callable[[Adapter], Adapter], str]] = {
    "other base": (_spec(base_model_fingerprint="0" * 64), "another base model: .* 000000000000"),
    "for Conv1D": (_spec(fan_in_fan_out=True), "does not load into the cloud"),
    "no such layer": (_spec(target_modules=("c_attn",)), "c_attn name no layer"),
    "no linear layer": (_spec(target_modules=("mlp",)), "mlp, a LlamaMLP; expected a linear"),
    "layer left out": (_spec(target_modules=(*TARGETS, "k_proj")), "12 tensors.* take 16"),
    "tensor left out": (_tensors(lambda t: t.pop(A)), f"11 tensors.* take 12; .* {A}"),
    "unknown tensor": (_tensors(lambda t: t.update(odd=t[A])), "13 tensors.* take 12; .* odd"),
    "other rank": (_spec(rank=2), r"must have shape \(2, \d+\), found \(3, \d+\)"),
    "transposed": (_tensors(lambda t: t.update({B: t[B].T})), r"shape \(16, 3\), found \(3, 16\)"),
    "would broadcast": (
        _tensors(lambda t: t.update({B: t[B][:1]})),
        r"shape \(16, 3\), found \(1, 3\)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_leaves_every_weight(case: str, tiny_cloud: Path) -> None:
    change, said = REFUSED[case]
    network, adapter = AutoModelForCausalLM.from_pretrained(tiny_cloud), drawn(tiny_cloud)
    before = weights(network)
    with pytest.raises(AdapterError, match=said):
        merge(network, change(adapter), fingerprint=adapter.spec.base_model_fingerprint)
    for name, after in weights(network).items():
        np.testing.assert_array_equal(after, before[name])


def test_a_shared_weight_is_not_adapted() -> None:
    config = LlamaConfig(
        vocab_size=40,
        hidden_size=8,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        tie_word_embeddings=True,
    )
    spec = AdapterSpec(
        base_model_fingerprint="f",
        rank=1,
        alpha=1.0,
        target_modules=("lm_head",),
        fan_in_fan_out=False,
    )
    adapter = initial_adapter(spec, {"lm_head": (40, 8)}, seed=0)
    with pytest.raises(AdapterError, match=r"lm_head shares its weight with model\.embed_tokens"):
        merge(LlamaForCausalLM(config), adapter, fingerprint="f")
