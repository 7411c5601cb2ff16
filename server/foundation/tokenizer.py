"""A byte-level BPE tokenizer trained on the public corpus, in Hugging Face form."""

from collections.abc import Sequence
from dataclasses import dataclass

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

END_MARK = "<|endoftext|>"  # end of text and padding, id 0
SAMPLE = 6000  # texts that the merges are learned from


@dataclass(frozen=True, kw_only=True)
class TokenPair:
    """A record as token ids; the completion ends with the end mark."""

    prompt: list[int]
    completion: list[int]

    def __len__(self) -> int:
        return len(self.prompt) + len(self.completion)


def train_tokenizer(texts: Sequence[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """Learn `vocabulary` tokens; any text can be written with them (all 256 bytes are tokens)."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END_MARK],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts[:SAMPLE], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token=END_MARK, bos_token=END_MARK, pad_token=END_MARK
    )


def token_pairs(
    tokenizer: PreTrainedTokenizerFast, pairs: Sequence[tuple[str, str]], *, longest: int
) -> list[TokenPair]:
    """Encode (prompt, completion) pairs; those of more than `longest` tokens are left out."""
    encode = tokenizer.backend_tokenizer.encode_batch
    prompts = encode([prompt for prompt, _ in pairs])
    completions = encode([completion for _, completion in pairs])
    encoded = [
        TokenPair(prompt=p.ids, completion=[*c.ids, tokenizer.eos_token_id])
        for p, c in zip(prompts, completions, strict=True)
    ]
    return [pair for pair in encoded if len(pair) <= longest]
