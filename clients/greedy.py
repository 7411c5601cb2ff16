"""Greedy decoding of many prompts at once: left-padded batches, a key-value cache, rows that leave.

transformers' generate does the same with general machinery around every token (logits processors,
stopping criteria, input preparation); for a model of a few layers that machinery costs more than
the model. Here a row that has reached its end mark also leaves the batch.

Letters: B = batch, T = positions of the prompt, V = vocabulary.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

ROWS = 48  # prompts decoded together, at the most
PADDED_TOKENS = 8192  # prompt tokens of one batch with padding, at the most


@torch.inference_mode()
def greedy_texts(
    network: Any, prompts: Sequence[Sequence[int]], *, max_new_tokens: int, end_id: int
) -> list[list[int]]:
    """New token ids of every prompt, in the order given, without the end mark."""
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    new_ids: list[list[int]] = [[] for _ in prompts]
    while order:
        rows = max(1, min(ROWS, PADDED_TOKENS // len(prompts[order[0]])))
        batch, order = order[:rows], order[rows:]
        decoded = _decode(network, [prompts[i] for i in batch], max_new_tokens, end_id)
        for i, row in zip(batch, decoded, strict=True):
            new_ids[i] = row
    return new_ids


def _decode(
    network: Any, prompts: Sequence[Sequence[int]], max_new_tokens: int, end_id: int
) -> list[list[int]]:
    """Decode one batch; `prompts` are sorted, the longest first."""
    from transformers import DynamicCache

    ids, mask = _left_padded(prompts)  # (B, T)
    padded = bool((mask == 0).any())
    positions = (mask.cumsum(1) - 1).clamp_(min=0)  # (B, T): a row's first real token is at 0
    cache = DynamicCache(config=network.config)
    rows: list[list[int]] = [[] for _ in prompts]
    alive = list(range(len(prompts)))  # which row of `rows` each row of the batch is
    for step in range(max_new_tokens):
        logits = network(
            input_ids=ids,
            attention_mask=mask if padded else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits  # (B, 1, V)
        chosen = logits[:, -1].argmax(dim=-1)  # (B,)
        going = []
        for place, token in enumerate(chosen.tolist()):
            if token != end_id:
                rows[alive[place]].append(token)
                going.append(place)
        if not going or step + 1 == max_new_tokens:
            break
        positions = positions[:, -1:] + 1
        if len(going) < len(alive):  # rows that reached their end leave
            kept = torch.tensor(going)
            cache.batch_select_indices(kept)
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
            alive = [alive[place] for place in going]
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
    return rows


def _left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, both (B, T), every prompt ending at the last position."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids, mask
