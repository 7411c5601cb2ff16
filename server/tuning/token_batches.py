"""Pairs become token ids as the engine reads them, and token ids become padded batches.

Letters: B pairs of a batch, T tokens, N completion tokens of the batch.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any

from fl.errors import BaseModelError
from fl.prompt_format import cloud_prompt, completion
from server.foundation.token_batch import TokenBatch, side_by_side
from server.foundation.tokenizer import TokenPair
from server.tuning.corpus import Pair


def encode(tokenizer: Any, pairs: Sequence[Pair], *, longest: int) -> list[TokenPair]:
    """Token ids of all pairs of at most `longest` tokens, each ending with the end mark.

    A prompt has the ids that the engine gives it, and a completion those it has behind its prompt.
    Raises BaseModelError where the tokenizer has no end mark or no pair is short enough.
    """
    end_id = tokenizer.eos_token_id
    if end_id is None:
        raise BaseModelError("The cloud model's tokenizer has no end mark; answers need one.")
    marks = not tokenizer.chat_template  # a chat template writes all marks itself
    if tokenizer.chat_template:
        pairs = [_in_template(tokenizer, pair) for pair in pairs]

    def ids(texts: list[str]) -> list[list[int]]:
        return list(tokenizer(texts, add_special_tokens=marks)["input_ids"])

    prompts, wholes = ids([p for p, _ in pairs]), ids([prompt + text for prompt, text in pairs])
    encoded = []
    for (_, text), prompt, whole in zip(pairs, prompts, wholes, strict=True):
        rest = whole[len(prompt) :]
        if whole[: len(prompt)] != prompt:  # a token reaches across the border
            rest = tokenizer(text, add_special_tokens=False)["input_ids"]
        encoded.append(TokenPair(prompt=prompt, completion=[*rest, end_id]))
    short = [pair for pair in encoded if len(pair) <= longest]
    if not short:
        raise BaseModelError(
            f"None of {len(pairs)} pairs of the cloud's corpus has at most {longest} tokens "
            "(the model's positions, and tuning.batch_tokens)."
        )
    return short


def _in_template(tokenizer: Any, pair: Pair) -> Pair:
    """The pair as a model with a chat template is asked and answers, instead of in our format."""
    before, after = cloud_prompt("\0").split("\0")
    request = pair[0].removeprefix(before).removesuffix(after)
    turns = [{"role": "user", "content": request}]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
    return asked, pair[1].removeprefix(completion(""))


def endless_batches(
    pairs: Sequence[TokenPair], *, batch_tokens: int, seed: int
) -> Iterator[TokenBatch]:
    """Epoch after epoch, each in a new order; a batch has at most `batch_tokens` with padding."""
    rng = random.Random(seed)
    order = list(pairs)
    batch: list[TokenPair] = []
    while True:
        rng.shuffle(order)
        for pair in order:
            longest = max(map(len, [*batch, pair]))
            if batch and longest * (len(batch) + 1) > batch_tokens:
                yield side_by_side(batch)
                batch = []
            batch.append(pair)
