"""A LLaMA folder as one GGUF file, for llama.cpp and what is built on it.

llama.cpp turns a head's neighbouring pairs of numbers by the position, transformers its two halves.
So the rows of q_proj and k_proj are put into another order here; all else keeps its numbers. The
embeddings are the output matrix where they are tied: then there is no output tensor.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, GenerationConfig

from fl.base_model import fingerprint
from fl.durable import sync_file, sync_folder
from fl.errors import BaseModelError
from server.gguf_vocabulary import read_vocabulary, write_vocabulary

OUTTYPES = {"f32": GGMLQuantizationType.F32, "q8_0": GGMLQuantizationType.Q8_0}
_FILE_TYPES = {"f32": gguf.LlamaFileType.ALL_F32, "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}
_BLOCK = 32  # numbers that share a scale in q8_0
_ROPES = ("default", "linear", "llama3")


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    """One tensor on its way: where it is read, what it is called there."""

    file: Path
    source: str  # its name in the folder
    name: str  # its name in GGUF
    shape: tuple[int, ...]
    stored: GGMLQuantizationType
    heads: int  # whose rows are put in order; 0 leaves them


def export_gguf(folder: Path, out: Path, *, outtype: str) -> None:
    """Write `folder` as `out`, whole or not at all; one tensor is in memory at a time.

    `outtype` is f32, or q8_0: 8 bits for each number of the matrices and a scale for 32 of them.
    Raises BaseModelError for a folder that is no plain LLaMA with a byte-level BPE tokenizer.
    """
    config = _config(folder)
    vocabulary = read_vocabulary(folder, rows=config.vocab_size, end_ids=_end_ids(folder, config))
    tensors = list(_tensors(folder, config, outtype))
    out.parent.mkdir(parents=True, exist_ok=True)
    aside = out.with_name(f".{out.name}.partial")
    try:
        writer = GGUFWriter(aside, "llama")
        _describe(writer, folder, config, outtype)
        write_vocabulary(writer, vocabulary)
        _write(writer, tensors, _rope_factors(config))
        sync_file(aside)
        aside.replace(out)
        sync_folder(out.parent)
    finally:
        aside.unlink(missing_ok=True)


def _config(folder: Path) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{folder} holds no cloud model: {error}") from error
    rope = config.rope_parameters["rope_type"] if config.model_type == "llama" else ""
    checks = [
        (config.model_type == "llama", f"model_type is {config.model_type}, not llama"),
        (rope in _ROPES or not rope, f"rope_type is {rope}, not one of {', '.join(_ROPES)}"),
        (getattr(config, "hidden_act", "silu") == "silu", "hidden_act is not silu"),
        (getattr(config, "quantization_config", None) is None, "its weights are quantized"),
    ]
    problems = [text for holds, text in checks if not holds]
    if problems:
        raise BaseModelError(f"{folder} cannot become GGUF here: {'; '.join(problems)}.")
    return config


def _end_ids(folder: Path, config: Any) -> list[int]:
    """Marks that end an answer, by the model's files: one, several or none in each."""
    named = [config.eos_token_id]
    if (folder / "generation_config.json").is_file():
        named.append(GenerationConfig.from_pretrained(folder).eos_token_id)
    return [i for entry in named for i in (entry if isinstance(entry, list) else [entry])]


def _describe(writer: GGUFWriter, folder: Path, config: Any, outtype: str) -> None:
    """What llama.cpp must know of the shape."""
    rope = config.rope_parameters
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(folder.name)
    writer.add_string("netgpt.fingerprint", fingerprint(folder))  # of the folder it was made from
    writer.add_file_type(_FILE_TYPES[outtype])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(rope["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    if rope["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(rope["factor"])


def _tensors(folder: Path, config: Any, outtype: str) -> Iterator[_Tensor]:
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {
        "self_attn.q_proj": config.num_attention_heads,
        "self_attn.k_proj": config.num_key_value_heads,
    }
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise BaseModelError(f"{folder} holds no *.safetensors.")
    for file in files:
        for source, shape in _shapes(file):
            if source == "lm_head.weight" and config.tie_word_embeddings:
                continue
            if source.endswith("rotary_emb.inv_freq"):  # older folders keep what is computed
                continue
            name = names.get_name(source, try_suffixes=(".weight", ".bias"))
            if name is None:
                raise BaseModelError(f"{file} holds {source}, which is no part of a LLaMA.")
            stored = OUTTYPES[outtype]
            if len(shape) < 2 or shape[-1] % _BLOCK:
                stored = GGMLQuantizationType.F32  # norms, biases, and rows that do not divide
            module = source.rpartition(".")[0]
            turned = next((n for end, n in heads.items() if module.endswith(end)), 0)
            yield _Tensor(
                file=file, source=source, name=name, shape=shape, stored=stored, heads=turned
            )


def _shapes(file: Path) -> Iterator[tuple[str, tuple[int, ...]]]:
    try:
        with safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118 - it is no dictionary
                yield name, tuple(opened.get_slice(name).get_shape())
    except SafetensorError as error:
        raise BaseModelError(f"{file} cannot be read: {error}") from error


def _write(
    writer: GGUFWriter, tensors: list[_Tensor], rope_factors: NDArray[np.float32] | None
) -> None:
    """The header first, which names every tensor with its size; then their numbers."""
    if rope_factors is not None:
        writer.add_tensor_info(
            "rope_freqs.weight", rope_factors.shape, rope_factors.dtype, rope_factors.nbytes
        )
    for tensor in tensors:
        byte_shape = gguf.quant_shape_to_byte_shape(tensor.shape, tensor.stored)
        kind = np.dtype(np.float32 if tensor.stored == GGMLQuantizationType.F32 else np.uint8)
        shape = tensor.shape if kind == np.float32 else byte_shape
        writer.add_tensor_info(tensor.name, shape, kind, math.prod(byte_shape), tensor.stored)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        if rope_factors is not None:
            writer.write_tensor_data(rope_factors)
        for tensor in tensors:
            writer.write_tensor_data(gguf.quantize(_numbers(tensor), tensor.stored))
    finally:
        writer.close()


def _numbers(tensor: _Tensor) -> NDArray[np.float32]:
    with safe_open(tensor.file, framework="pt") as opened:
        values = opened.get_tensor(tensor.source).to(torch.float32).numpy()
    return np.ascontiguousarray(paired(values, tensor.heads) if tensor.heads else values)


def paired(rows: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Rows of a projection so that numbers turned together stand together.

    A head of 4 rows is turned as (0, 2), (1, 3) by transformers: its order becomes 0, 2, 1, 3.
    """
    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


def _rope_factors(config: Any) -> NDArray[np.float32] | None:
    """By what each frequency is divided in LLaMA 3.1 and later; None where it is not."""
    rope = config.rope_parameters
    if rope["rope_type"] != "llama3":
        return None
    pairs = np.arange(0, config.head_dim, 2) / config.head_dim
    wavelengths = 2 * np.pi * rope["rope_theta"] ** pairs
    turns = rope["original_max_position_embeddings"] / wavelengths  # in the context learned first
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    share = np.clip((turns - low) / (high - low), 0, 1)  # 0 slow: stretched; 1 fast: left alone
    factors: NDArray[np.float32] = (1 / ((1 - share) / rope["factor"] + share)).astype(np.float32)
    return factors
