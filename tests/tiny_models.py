"""Tiny random base models as ordinary Hugging Face folders: they prove code paths, not learning."""

from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM
from transformers import PreTrainedTokenizerFast as FastTokenizer

END = "<|endoftext|>"
WIDTH, LAYERS, POSITIONS, VOCABULARY = 32, 2, 256, 400
SENTENCES = (
    "Card: place Elmford; weather rain; open the mill, the quay\nRequest: food tonight\nEnriched:",
    " A table for two near the quay in Elmford tonight, indoors because of the rain.<|endoftext|>",
    "Request: a taxi to the station\nAnswer: A taxi waits at the old mill, the station is near.",
)


def make_tiny_edge(folder: Path, *, seed: int = 0) -> Path:
    """A GPT-2 of 2 layers x 32 with its tokenizer."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=POSITIONS,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=4,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.2,  # larger than usual, so that adapters and positions matter
    )
    return _save(GPT2LMHeadModel(config), folder)


def make_tiny_cloud(folder: Path, *, seed: int = 1) -> Path:
    """A LLaMA of 2 layers x 32 with grouped-query attention and its tokenizer."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=POSITIONS,
        hidden_size=WIDTH,
        intermediate_size=2 * WIDTH,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        initializer_range=0.2,
    )
    return _save(LlamaForCausalLM(config), folder)


def make_tokenizer() -> FastTokenizer:
    """A byte-level BPE with one mark, which ends and pads."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        SENTENCES, vocab_size=VOCABULARY, special_tokens=[END], show_progress=False
    )
    return FastTokenizer(
        tokenizer_object=trained._tokenizer, eos_token=END, pad_token=END, bos_token=END
    )


def _save(model: Any, folder: Path) -> Path:
    model.save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder
