"""Load the cloud's language model from an ordinary Hugging Face folder, strictly and offline."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer

from fl.base_model import fingerprint
from fl.errors import BaseModelError
from fl.prompt_format import cloud_prompt
from server.generation.decoding import PaddedBatch


class Tokens:
    """The tokenizer, used by one thread at a time: fast tokenizers may refuse to be shared."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()

    def encode(self, text: str) -> list[int]:
        """Token ids of a prompt, with whatever start mark the tokenizer was made with."""
        with self._lock:
            return list(self._tokenizer(text)["input_ids"])

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated tokens, without marks and with every blank as it was written."""
        with self._lock:
            text: str = self._tokenizer.decode(
                list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        return text


@dataclass(frozen=True, kw_only=True)
class LanguageModel:
    """A loaded, probed model and what the engine must know of it."""

    model: Any  # a transformers causal language model in eval mode
    tokens: Tokens
    end_ids: frozenset[int]  # any of them ends an answer
    positions: int  # prompt and answer together, in tokens
    vocabulary: int  # rows of the token embedding
    fingerprint: str  # sha256, hex


def load_language_model(folder: Path) -> LanguageModel:
    """Load and probe a model; raises BaseModelError where the folder is not a whole, sane one."""
    if not (folder / "config.json").is_file():
        raise BaseModelError(
            f"{folder} holds no cloud model: expected config.json and *.safetensors. "
            "Run ./run.sh foundation, or name a hub model or local folder (cloud.model=...)."
        )
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, output_loading_info=True
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
    loaded = LanguageModel(
        model=model,
        tokens=Tokens(tokenizer),
        end_ids=_end_ids(model, tokenizer),
        positions=int(model.config.max_position_embeddings),
        vocabulary=int(model.get_input_embeddings().num_embeddings),
        fingerprint=fingerprint(folder),
    )
    _probe(loaded, folder)
    return loaded


def _end_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    named = [model.generation_config.eos_token_id, model.config.eos_token_id]
    ids = {tokenizer.eos_token_id}
    for entry in named:
        ids.update(entry if isinstance(entry, list) else [entry])
    return frozenset(token_id for token_id in ids if token_id is not None)


def _probe(loaded: LanguageModel, folder: Path) -> None:
    with torch.inference_mode():
        batch = PaddedBatch(loaded.model, [loaded.tokens.encode(cloud_prompt("a quiet cafe"))])
    if not bool(batch.logits_BV.isfinite().all()):
        raise BaseModelError(
            f"{folder} answered a probe prompt with numbers that are not finite: its weights are "
            "damaged. Make or fetch the folder again."
        )
