"""A base model's tokenizer and network from a Hugging Face folder, ready to be adapted."""

from copy import deepcopy
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clients.lean_attention import register
from fl.errors import BaseModelError


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    says = (
        f"{folder} has no tokenizer that transformers can load. "
        "Expected the files written by tokenizer.save_pretrained beside the weights."
    )
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelError(says) from error
    if not tokenizer("Request", add_special_tokens=False)["input_ids"]:
        raise BaseModelError(says)  # where files are missing, GPT-2's class makes an empty one
    return tokenizer


def load_network(folder: Path) -> Any:
    """The base model in float32, frozen, without dropout."""
    from transformers import AutoModelForCausalLM
    from transformers.activations import NewGELUActivation
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()  # one bar a worker process would drown the round's own
    try:
        network = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, attn_implementation=register()
        )
    except (OSError, ValueError, KeyError) as error:
        raise BaseModelError(
            f"{folder} cannot be loaded as a causal language model: {error}"
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()
    for name, module in list(network.named_modules()):
        if isinstance(module, NewGELUActivation):  # the same function in one pass instead of eight
            network.set_submodule(name, nn.GELU(approximate="tanh"))
    return network.requires_grad_(False).eval()


def twin(network: Any) -> Any:
    """The same network again, with modules of its own over the very same weights."""
    weights = chain(network.parameters(), network.buffers())
    return deepcopy(network, {id(weight): weight for weight in weights})


def rows_out(layer: Any) -> Tensor:
    """The layer's weight as (d_out, d_in): GPT-2's Conv1D stores the transpose."""
    weight: Tensor = layer.weight
    return weight if isinstance(layer, nn.Linear) else weight.t()


def end_id(tokenizer: Any, network: Any, folder: Path) -> int:
    """The end mark: the tokenizer's, else the model's."""
    found = tokenizer.eos_token_id
    if found is None:
        found = network.config.eos_token_id
    if isinstance(found, list):
        found = found[0]
    if found is None:
        raise BaseModelError(f"{folder} names no end mark (eos_token) in tokenizer or config.")
    return int(found)
