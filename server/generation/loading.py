"""Load the cloud's language model from an ordinary Hugging Face folder, strictly and offline."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from fl.adapter import Adapter
from fl.base_model import fingerprint
from fl.errors import BaseModelError
from fl.generation import BASE, GenerationRequest
from fl.prompt_format import conversation
from server.generation.adapter_merge import merge
from server.generation.llama import Llama

_PROBE = "a quiet cafe"


class Tokens:
    """The tokenizer, used by one thread at a time: fast tokenizers may refuse to be shared."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._fast = tokenizer.backend_tokenizer  # decodes without the wrapper's general checks
        self._lock = threading.Lock()

    def prompt_ids(self, request: GenerationRequest) -> list[int]:
        """Token ids of a request: as it is, by the tokenizer's chat template, or in our format."""
        if request.plain:
            return self.encode(request.prompt)
        if self._tokenizer.chat_template:
            turns = [{"role": turn.role, "content": turn.content} for turn in request.history]
            turns.append({"role": "user", "content": request.prompt})
            with self._lock:
                rendered = self._tokenizer.apply_chat_template(
                    turns, add_generation_prompt=True, tokenize=False
                )
                return list(self._tokenizer(rendered, add_special_tokens=False)["input_ids"])
        return self.encode(conversation(request.history, request.prompt))

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, with whatever start mark the tokenizer was made with."""
        with self._lock:
            return list(self._tokenizer(text)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated tokens, without marks and with every blank as it was written."""
        with self._lock:
            text: str = self._fast.decode(list(ids), skip_special_tokens=True)
        return text


@dataclass(frozen=True, kw_only=True, eq=False)
class LanguageModel:
    """A loaded, probed model and what the engine must know of it."""

    name: str
    network: Llama
    tokens: Tokens
    end_ids: frozenset[int]  # any of them ends an answer
    positions: int  # prompt and answer together, in tokens
    vocabulary: int  # rows of the token embedding
    fingerprint: str  # sha256 of the base model, hex
    release: str  # of the adapter merged into it: "base", or as in "cloud/3"


def load_language_model(
    folder: Path,
    *,
    name: str = "netgpt-cloud",
    weights: str = "float32",
    positions: int | None = None,
    adapter: Adapter | None = None,
    release: str = BASE,
) -> LanguageModel:
    """Load, merge and probe a model.

    `positions` bounds prompt and answer, where the model has more. Raises BaseModelError where the
    folder is not a whole, sane model, AdapterError where the adapter is not for it.
    """
    model, tokenizer = load_transformers(folder)
    base = fingerprint(folder)
    if adapter is not None:
        merge(model, adapter, fingerprint=base)
    if weights == "int8" and model.device.type != "cpu":
        raise BaseModelError("engine.weights=int8 is for the CPU; with a GPU use bfloat16.")
    most = int(model.config.max_position_embeddings)
    most = most if positions is None else min(most, positions)
    loaded = LanguageModel(
        name=name,
        network=Llama(model, weights=weights, positions=most),
        tokens=Tokens(tokenizer),
        end_ids=_end_ids(model, tokenizer),
        positions=most,
        vocabulary=int(model.get_input_embeddings().num_embeddings),
        fingerprint=base,
        release=release,
    )
    _probe(loaded, folder)
    return loaded


def load_transformers(folder: Path) -> tuple[Any, Any]:
    """The causal language model in float32 and eval mode, and its tokenizer.

    Raises BaseModelError where a file or a tensor is missing.
    """
    if not (folder / "config.json").is_file():
        raise BaseModelError(
            f"{folder} holds no cloud model: expected config.json and *.safetensors. "
            "Run ./run.sh foundation, or name a hub model or local folder (cloud.model=...)."
        )
    logging.disable_progress_bar()  # of seconds, and into a service's log
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            dtype=torch.float32,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, SafetensorError) as error:
        raise BaseModelError(f"{folder} cannot be loaded as a language model: {error}") from error
    # transformers fills absent or misshapen weights with random ones and only warns.
    absent = sorted([*report["missing_keys"], *map(str, report["mismatched_keys"])])
    if absent:
        raise BaseModelError(
            f"{folder} lacks {len(absent)} of the model's tensors, for instance {absent[0]}. "
            "Make or fetch the folder again."
        )
    model.to("cuda" if torch.cuda.is_available() else "cpu").eval()
    return model, tokenizer


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    named = [model.generation_config.eos_token_id, model.config.eos_token_id]
    ids = {tokenizer.eos_token_id}
    for entry in named:
        ids.update(entry if isinstance(entry, list) else [entry])
    return frozenset(token_id for token_id in ids if token_id is not None)


def _probe(loaded: LanguageModel, folder: Path) -> None:
    ids = loaded.tokens.prompt_ids(GenerationRequest(request_id="", site_id="", prompt=_PROBE))
    with torch.inference_mode():
        logits_NV = loaded.network.logits(ids, first=0)
    if not bool(logits_NV.isfinite().all()):
        raise BaseModelError(
            f"{folder} answered a probe prompt with numbers that are not finite: its weights are "
            "damaged. Make or fetch the folder again."
        )
