"""A GPT-2-base shape with random weights: 12 layers x 768, vocabulary 50,257, as a folder.

Speed does not depend on what the weights say. The tokenizer is a byte-level BPE made from public
text, so its ids fill only the lower part of the vocabulary; the head computes all 50,257 anyway.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

END = "<|endoftext|>"
TOKENIZER_SIZE = 8192


def make_base_shape(folder: Path, text: Sequence[str], *, seed: int) -> Path:
    """Write model and tokenizer. Dropout is 0, so that both loops minimise the same function."""
    torch.manual_seed(seed)
    config = GPT2Config(
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=0,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(
        text, vocab_size=TOKENIZER_SIZE, special_tokens=[END], show_progress=False
    )
    PreTrainedTokenizerFast(
        tokenizer_object=trained._tokenizer, eos_token=END, pad_token=END, bos_token=END
    ).save_pretrained(folder)
    return folder
