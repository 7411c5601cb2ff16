"""The exported file against the folder it was made from; slow: against what llama.cpp computes."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import typer
from numpy.typing import NDArray
from safetensors.numpy import load_file
from tokenizers import Regex, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM
from typer.testing import CliRunner

from fl.base_model import fingerprint
from fl.errors import BaseModelError, SettingsError
from server.gguf_verb import export_gguf as verb
from tests.llama_cpp_python import MISSING, llama_python
from tests.tiny_models import END, make_tiny_edge, make_tokenizer

gguf = pytest.importorskip("gguf", reason="an optional package")

from server.gguf_export import _rope_factors, export_gguf, paired  # noqa: E402
from server.gguf_vocabulary import _LLAMA_3  # noqa: E402

LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    **{f"blk.{i}.{a}": f"model.layers.{i}.{b}" for i in (0, 1) for a, b in LAYER.items()},
}


def read(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Metadata and tensors."""
    reader = gguf.GGUFReader(file)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: tensor for tensor in reader.tensors}


def save(folder: Path, tokenizer: Any = None, **shape: Any) -> Path:
    """A random LLaMA of 2 layers x 32, with what `shape` says otherwise."""
    torch.manual_seed(3)
    config = {
        "vocab_size": 400,
        "max_position_embeddings": 256,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "initializer_range": 0.2,
    }
    model = LlamaForCausalLM(LlamaConfig(**{**config, **shape}))
    for name, values in model.named_parameters():
        if name.endswith("bias"):  # which are zero at first
            torch.nn.init.normal_(values)
    model.save_pretrained(folder)
    (tokenizer or make_tokenizer()).save_pretrained(folder)
    return folder


def test_metadata_and_vocabulary(tiny_cloud: Path, tmp_path: Path) -> None:
    export_gguf(tiny_cloud, tmp_path / "a.gguf", outtype="f32")
    fields, _ = read(tmp_path / "a.gguf")

    assert list(tmp_path.iterdir()) == [tmp_path / "a.gguf"]
    llama = {k.removeprefix("llama."): v for k, v in fields.items() if k.startswith("llama.")}
    assert llama == {
        "vocab_size": 400,
        "context_length": 256,
        "embedding_length": 32,
        "feed_forward_length": 64,
        "block_count": 2,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "attention.key_length": 8,
        "attention.value_length": 8,
        "rope.dimension_count": 8,
        "rope.freq_base": 10000.0,
        "attention.layer_norm_rms_epsilon": pytest.approx(1e-6),
    }
    assert fields["general.architecture"] == "llama"
    assert fields["netgpt.fingerprint"] == fingerprint(tiny_cloud)
    words = make_tokenizer().get_vocab()
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert {word: tokens.index(word) for word in words} == words
    assert tokens[len(words) :] == [f"[PAD{i}]" for i in range(len(words), 400)]
    assert types == [3] + [1] * (len(words) - 1) + [5] * (400 - len(words))
    assert fields["tokenizer.ggml.pre"] == "gpt-2"
    assert fields["tokenizer.ggml.eos_token_id"] == fields["tokenizer.ggml.bos_token_id"] == 0
    assert fields["tokenizer.ggml.add_bos_token"] is fields["tokenizer.ggml.add_eos_token"] is False
    merges = json.loads((tiny_cloud / "tokenizer.json").read_text())["model"]["merges"]
    assert fields["tokenizer.ggml.merges"] == [" ".join(pair) for pair in merges]


def test_every_tensor_has_its_name_and_only_q_and_k_another_order(
    tiny_cloud: Path, tmp_path: Path
) -> None:
    export_gguf(tiny_cloud, tmp_path / "a.gguf", outtype="f32")
    _, tensors = read(tmp_path / "a.gguf")
    source = load_file(tiny_cloud / "model.safetensors")

    assert set(tensors) == {f"{name}.weight" for name in NAMES}
    head = np.array([0, 4, 1, 5, 2, 6, 3, 7])  # of 8 rows: halves become neighbours
    for name, ours in NAMES.items():
        expected = source[f"{ours}.weight"]
        if name.endswith(("attn_q", "attn_k")):
            heads = len(expected) // 8
            expected = expected[np.concatenate([head + 8 * i for i in range(heads)])]
        np.testing.assert_array_equal(tensors[f"{name}.weight"].data, expected)


def test_two_heads_of_four_rows() -> None:
    rows = np.arange(8, dtype=np.float32)
    assert paired(rows, 2).tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_tied_embeddings_are_written_once(tmp_path: Path) -> None:
    export_gguf(save(tmp_path / "tied", tie_word_embeddings=True), tmp_path / "a", outtype="f32")
    assert "output.weight" not in read(tmp_path / "a")[1]


def test_eight_bits_for_matrices_alone(tiny_cloud: Path, tmp_path: Path) -> None:
    export_gguf(tiny_cloud, tmp_path / "a.gguf", outtype="q8_0")
    fields, tensors = read(tmp_path / "a.gguf")
    source = load_file(tiny_cloud / "model.safetensors")

    assert fields["general.file_type"] == 7
    eight, full = gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.F32
    stored = {name: tensor.tensor_type for name, tensor in tensors.items()}
    assert stored == {name: full if "norm" in name else eight for name in stored}
    down = source["model.layers.1.mlp.down_proj.weight"]  # (32, 64): two blocks a row
    read_back = gguf.dequantize(tensors["blk.1.ffn_down.weight"].data, eight)
    step = np.abs(down).reshape(32, 2, 32).max(axis=2).repeat(32, axis=1) / 127
    # half a step, and what the scale loses in 16 bits: 127 steps / 2048
    assert (np.abs(read_back - down) <= 0.57 * step).all()


def test_frequencies_of_llama_3() -> None:
    rope = {
        "rope_type": "llama3",
        "rope_theta": 100.0,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16 * np.pi,
    }
    config = LlamaConfig(hidden_size=8, num_attention_heads=1, rope_parameters=rope)
    # wavelengths 2 pi 100^(i/4) turn 8, 2.53, 0.8 and 0.25 times in the first context: those of 4
    # and more stay, those of 1 and less are stretched by 8, one is between: (2.53 - 1) / (4 - 1)
    share = (8 / 10**0.5 - 1) / 3
    between = 1 / ((1 - share) / 8 + share)
    factors = _rope_factors(config)
    assert factors is not None
    assert factors.tolist() == pytest.approx([1, between, 8, 8])


def test_what_llama_cpp_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folders = {
        "model_type is gpt2": make_tiny_edge(tmp_path / "edge"),
        "rope_type is dynamic": save(
            tmp_path / "rope",
            rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0},
        ),
        "cuts text in a way": save(tmp_path / "words", tokenizer),
        "300 token embeddings": save(tmp_path / "few", vocab_size=300),
        "holds no cloud model": tmp_path / "nothing",
    }
    out = tmp_path / "out" / "a.gguf"
    for problem, folder in folders.items():
        with pytest.raises(BaseModelError, match=problem):
            export_gguf(folder, out, outtype="f32")
    assert not out.parent.exists()


def test_a_full_disk_leaves_the_old_file(
    tiny_cloud: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    out = tmp_path / "a.gguf"
    out.write_bytes(b"the old one")
    monkeypatch.setattr(gguf, "quantize", full)
    with pytest.raises(OSError, match="No space"):
        export_gguf(tiny_cloud, out, outtype="f32")

    assert out.read_bytes() == b"the old one"
    assert list(tmp_path.iterdir()) == [out]


def test_the_verb(tiny_cloud: Path, tmp_path: Path) -> None:
    app = typer.Typer()
    app.command()(verb)
    words = [f"cloud.model={tiny_cloud}", f"var={tmp_path}"]
    done = CliRunner().invoke(app, [*words, "--outtype", "q8_0"])
    named = CliRunner().invoke(app, [*words, "--out", str(tmp_path / "named.gguf")])
    wrong = CliRunner().invoke(app, ["cloud.modle=x"])

    file = tmp_path / "gguf" / f"{tiny_cloud.name}-q8_0.gguf"
    assert (done.exit_code, named.exit_code) == (0, 0)
    assert isinstance(wrong.exception, SettingsError)  # of which main makes exit code 2
    assert str(file) in done.output
    assert read(file)[0]["general.file_type"] == 7
    assert read(tmp_path / "named.gguf")[0]["general.file_type"] == 0


# llama.cpp must tokenise and compute as transformers does, for every shape that is not refused.

TEXTS = [
    "Request: a table for two, near the quay\nAnswer:",
    "  two  blanks   and a tail  ",
    "it's 12345 o'clock; they'LL say 'twas\t\ttabs\r\n\r\nlines \n \n",
    "caf\u00e9 na\u00efve e\u0301 \u00bd \u2167 \u6771\u4eac \u0645\u0631\u062d\u0628\u0627",
    f"\U0001f642\U0001f468\u200d\U0001f469\u200d\U0001f467 {END} after a mark",
    "!!! ...a_b-c/d@e.f #1 $9.99",
    "",
]


def _llama_3_tokenizer() -> Any:
    tokenizer = make_tokenizer()
    backend = tokenizer.backend_tokenizer
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_LLAMA_3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.model.ignore_merges = True
    backend.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B", special_tokens=[(END, 0)]
    )
    return tokenizer


def _digits_tokenizer() -> Any:
    tokenizer = make_tokenizer()
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    return tokenizer


LLAMA_3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 32,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0}
SHAPES: dict[str, tuple[Callable[[], Any], dict[str, Any]]] = {
    "as foundation makes it": (make_tokenizer, {"tie_word_embeddings": True}),
    "as LLaMA 3": (_llama_3_tokenizer, {"rope_parameters": LLAMA_3_ROPE, "head_dim": 16}),
    "biases, linear rope": (
        _digits_tokenizer,
        {"attention_bias": True, "mlp_bias": True, "rope_parameters": LINEAR_ROPE},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_llama_cpp_reads_and_computes_the_same(tmp_path: Path, shape: str) -> None:
    python = llama_python()
    if python is None:
        pytest.skip(MISSING)
    make, config = SHAPES[shape]
    folder, tokenizer = save(tmp_path / "model", make(), **config), make()
    export_gguf(folder, tmp_path / "a.gguf", outtype="f32")
    ids = tokenizer(TEXTS[0])["input_ids"] + tokenizer(TEXTS[3])["input_ids"]

    asked = {"gguf": str(tmp_path / "a.gguf"), "texts": TEXTS, "ids": ids}
    script = Path(__file__).with_name("llama_cpp_probe.py")
    output = subprocess.run(
        [python, "-I", script], input=json.dumps(asked), text=True, capture_output=True, check=True
    )
    found = json.loads(output.stdout)

    assert found["tokens"] == [tokenizer(text)["input_ids"] for text in TEXTS]
    with torch.inference_mode():
        logits = LlamaForCausalLM.from_pretrained(folder)(torch.tensor([ids])).logits[0]
    theirs: NDArray[np.float32] = np.array(found["logits"], dtype=np.float32)
    np.testing.assert_allclose(theirs, logits.numpy(), atol=1e-4, rtol=0)
