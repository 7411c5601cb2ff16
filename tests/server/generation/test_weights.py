"""Weights in fewer bits, and which models the engine computes."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

from fl.errors import BaseModelError
from server.generation.llama import Llama
from server.generation.loading import load_language_model
from server.generation.weights import linear
from server.generation.weights_check import check_weights, heldout_nll
from server.tuning.corpus import heldout_pairs
from tests.server.generation.engine_cases import SETTINGS
from tests.tiny_models import make_tiny_cloud


@pytest.mark.parametrize(("kind", "most"), [("float32", 1e-5), ("bfloat16", 2e-2), ("int8", 3e-2)])
@pytest.mark.parametrize("shape", [(48, 40), (640, 512)])  # plain, and packed for oneDNN
@pytest.mark.parametrize("rows", [1, 5, 40])
def test_a_layer_computes_its_product(
    kind: str, most: float, shape: tuple[int, int], rows: int
) -> None:
    torch.manual_seed(0)
    weight, bias, x = torch.randn(shape), torch.randn(shape[0]), torch.randn(rows, shape[1])
    expected = x @ weight.T + bias

    with torch.inference_mode():
        found = linear(weight, bias, kind)(x)

    assert found.dtype == torch.float32
    assert float((found - expected).norm() / expected.norm()) < most


def _llama(**changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(2)
    fields = {
        "vocab_size": 60,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
    }
    return LlamaForCausalLM(LlamaConfig(**{**fields, **changes})).eval()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"num_key_value_heads": 1, "head_dim": 16},
        {"attention_bias": True, "mlp_bias": True, "tie_word_embeddings": True},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 500_000.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}},
        {
            "rope_parameters": {
                "rope_type": "llama3",
                "rope_theta": 10_000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            }
        },
    ],
)
def test_logits_equal_those_of_transformers(changes: dict[str, Any]) -> None:
    model = _llama(**changes)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter)
    ids = torch.randint(0, 60, (50,)).tolist()

    with torch.inference_mode():
        found_NV = Llama(model, weights="float32", positions=128).logits(ids, first=0)
        expected_NV = model(torch.tensor([ids])).logits[0]

    torch.testing.assert_close(found_NV, expected_NV, rtol=1e-4, atol=2e-4)


def test_another_architecture_is_refused_with_a_way_out() -> None:
    model = _llama(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0})
    with pytest.raises(BaseModelError, match=r"rope_type .*'dynamic'.*engine\.kind=remote"):
        Llama(model, weights="float32", positions=128)


def test_rounded_weights_are_measured_and_refused_when_too_much_is_lost(tiny_cloud: Path) -> None:
    exact = load_language_model(tiny_cloud)
    for kind in ("bfloat16", "int8"):
        rounded = load_language_model(tiny_cloud, weights=kind)
        loose = replace(SETTINGS, engine=replace(SETTINGS.engine, weights_tolerance=10.0))
        line = check_weights(loose, exact=exact, rounded=rounded, kind=kind)
        assert line.startswith(f"{kind} weights: held-out NLL ")
    other = load_language_model(make_tiny_cloud(tiny_cloud.parent / "other", seed=9))
    strict = replace(SETTINGS, engine=replace(SETTINGS.engine, weights_tolerance=0.0))
    pairs = heldout_pairs(SETTINGS)[:64]
    worse, better = sorted((exact, other), key=lambda m: heldout_nll(m, pairs), reverse=True)
    with pytest.raises(BaseModelError, match=r"too much is lost.*weights=float32"):
        check_weights(strict, exact=better, rounded=worse, kind="int8")


def test_the_held_out_loss_is_what_transformers_says(tiny_cloud: Path) -> None:
    model = load_language_model(tiny_cloud)
    from tests.server.generation.engine_cases import _transformers

    pairs = [("Request: tea\nAnswer:", " At the quay."), ("Request: x\nAnswer:", " Yes.")]
    losses = []
    for prompt, text in pairs:
        head, whole = model.tokens.encode(prompt), model.tokens.encode(prompt + text)
        ids = torch.tensor([whole])
        logits = _transformers(tiny_cloud)(ids).logits[0].log_softmax(-1)
        losses += [-float(logits[i - 1, whole[i]]) for i in range(len(head), len(whole))]

    assert math.isclose(heldout_nll(model, pairs), sum(losses) / len(losses), rel_tol=1e-5)
    assert math.isnan(heldout_nll(model, []))


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BaseModelError, match="holds no cloud model"):
        load_language_model(tmp_path / "nothing")

    folder = make_tiny_cloud(tmp_path / "nan")
    tensors = load_file(folder / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match="not finite"):
        load_language_model(folder)

    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BaseModelError, match=r"lacks 1 .*norm"):
        load_language_model(folder)

    (folder / "config.json").write_text(
        json.dumps({**json.loads((folder / "config.json").read_text()), "model_type": "unheard"})
    )
    with pytest.raises(BaseModelError, match="cannot be loaded"):
        load_language_model(folder)
