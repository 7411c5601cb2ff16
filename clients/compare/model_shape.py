"""Sizes of a language model from its config alone.

Networks are built on torch's meta device, where parameters have a shape and take no memory.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fl.errors import BaseModelError


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Sizes of a causal language model, without its weights."""

    name: str
    parameters: int  # a head tied to the embedding is counted once
    stored_as: str  # dtype of its config, for instance float16
    bytes_each: int  # of one stored parameter
    blocks: int  # transformer blocks
    layers: Mapping[str, tuple[int, int]]  # module -> both sides of its weight, in either order
    cached: int  # numbers of keys and values that one position leaves, over all layers
    positions: int  # longest sequence in tokens


def gpt2_base() -> Shape:
    """The public GPT-2-base: 12 layers of 768, 1,024 positions, 50,257 tokens, float32."""
    from transformers import GPT2Config

    return _built("GPT-2-base", GPT2Config())


def llama_7b() -> Shape:
    """The public LLaMA-7B as it is distributed: float16, head and embedding apart."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        hidden_size=4096,
        num_hidden_layers=32,
        num_attention_heads=32,
        intermediate_size=11008,
        vocab_size=32000,
        max_position_embeddings=2048,
        tie_word_embeddings=False,
        dtype="float16",
    )
    return _built("LLaMA-7B", config)


def shape_of(model: Path | str, *, name: str) -> Shape:
    """Shape of a model folder, or of a hub model that lies in the local cache.

    Reads config.json alone and asks no network. Raises BaseModelError where there is no such model.
    """
    from transformers import AutoConfig

    try:
        return _built(name, AutoConfig.from_pretrained(model, local_files_only=True))
    except (OSError, ValueError) as error:
        raise BaseModelError(
            f"{name}: {model} has no config.json of a language model. Expected a folder written by "
            "save_pretrained, or a hub model that was fetched before; the embedded models are made "
            "by ./run.sh foundation."
        ) from error


def lora_widths(shape: Shape, targets: Sequence[str]) -> int:
    """Sum of d_in + d_out over the adapted layers: LoRA of rank r has r times as many numbers.

    Raises BaseModelError where a target is the last part of no layer's name.
    """
    last = {module: module.rpartition(".")[2] for module in shape.layers}
    for target in targets:
        if target not in last.values():
            raise BaseModelError(
                f"target_modules names {target!r}, but {shape.name} has no such layer."
            )
    return sum(sum(sides) for module, sides in shape.layers.items() if last[module] in targets)


def _built(name: str, config: Any) -> Shape:
    """Build the network on the meta device and read its sizes."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        network = AutoModelForCausalLM.from_config(config)
    parameters = list(network.parameters())
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    key_heads = getattr(config, "num_key_value_heads", None) or heads  # GPT-2 has one a query head
    return Shape(
        name=name,
        parameters=sum(p.numel() for p in parameters),
        stored_as=str(parameters[0].dtype).removeprefix("torch."),
        bytes_each=parameters[0].element_size(),
        blocks=config.num_hidden_layers,
        layers={
            module: (weight.shape[0], weight.shape[1])
            for module, layer in network.named_modules()
            if (weight := getattr(layer, "weight", None)) is not None and weight.dim() == 2
        },
        cached=config.num_hidden_layers * 2 * key_heads * head_width,
        positions=config.max_position_embeddings,
    )
