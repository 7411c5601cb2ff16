"""Greedy decoding of many prompts at once: left-padded batches, a key-value cache, rows that leave.

transformers' generate does the same with general machinery around every token (logits processors,
stopping criteria, input preparation); for a model of a few layers that machinery costs more than
the model. Here a row that has reached its end mark also leaves the batch.

Letters: B = batch, T = positions of the prompt, V = vocabulary.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

OnRows = Callable[[Sequence[int]], None]
# New tokens so far -> the tokens that may follow, one at least; the end mark alone ends.
Grammar = Callable[[Sequence[int]], Sequence[int]]

ROWS = 48  # prompts decoded together, at the most
PADDED_TOKENS = 8192  # prompt tokens of one batch with padding, at the most


@dataclass(kw_only=True)
class NewTokens:
    """What follows one prompt. `nats` are -log p of the chosen tokens, the end mark's included."""

    ids: list[int] = field(default_factory=list)  # without end mark
    nats: list[float] = field(default_factory=list)


@torch.inference_mode()
def greedy_texts(
    network: Any,
    prompts: Sequence[Sequence[int]],
    *,
    limits: Sequence[int],
    end_id: int,
    on_rows: OnRows | None = None,
    between: Callable[[], object] | None = None,
    grammars: Sequence[Grammar | None] | None = None,
) -> list[NewTokens]:
    """New tokens of every prompt, `limits` at the most, in the order given.

    A prompt with a grammar gets the most probable of the tokens that it allows; `nats` then are
    among these.
    `on_rows` is told which prompts the rows of the network's next call are; `between` is called
    before each call, and what it raises ends the writing.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    new = [NewTokens() for _ in prompts]
    while order:
        rows = max(1, min(ROWS, PADDED_TOKENS // len(prompts[order[0]])))
        batch, order = order[:rows], order[rows:]
        _decode(
            network,
            batch,
            prompts,
            new,
            limits=limits,
            end_id=end_id,
            on_rows=on_rows,
            between=between,
            grammars=grammars,
        )
    return new


def _decode(
    network: Any,
    alive: list[int],
    prompts: Sequence[Sequence[int]],
    new: list[NewTokens],
    *,
    limits: Sequence[int],
    end_id: int,
    on_rows: OnRows | None,
    between: Callable[[], object] | None,
    grammars: Sequence[Grammar | None] | None,
) -> None:
    """Decode one batch. `alive` are the prompts that its rows are, the longest first."""
    from transformers import DynamicCache

    ids, mask = left_padded([prompts[i] for i in alive])  # (B, T)
    padded = bool((mask == 0).any())
    positions = (mask.cumsum(1) - 1).clamp_(min=0)  # (B, T): a row's first real token is at 0
    cache = DynamicCache(config=network.config)
    if on_rows is not None:
        on_rows(alive)
    while True:
        if between is not None:
            between()
        logits = network(
            input_ids=ids,
            attention_mask=mask if padded else None,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]  # (B, V)
        if grammars is not None:
            logits = _allowed(logits, [(grammars[i], new[i].ids) for i in alive])
        highest, chosen = logits.max(dim=-1)  # (B,)
        nats = (logits.logsumexp(dim=-1) - highest).tolist()
        going = []
        for place, (i, token) in enumerate(zip(alive, chosen.tolist(), strict=True)):
            new[i].nats.append(nats[place])
            if token != end_id:
                new[i].ids.append(token)
                if len(new[i].ids) < limits[i]:
                    going.append(place)
        if not going:
            return
        positions = positions[:, -1:] + 1
        if len(going) < len(alive):  # rows that reached their end leave
            kept = torch.tensor(going)
            cache.batch_select_indices(kept)
            chosen, mask, positions = chosen[kept], mask[kept], positions[kept]
            alive = [alive[place] for place in going]
            if on_rows is not None:
                on_rows(alive)
        ids = chosen[:, None]
        mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)


def _allowed(logits: Tensor, rows: Sequence[tuple[Grammar | None, Sequence[int]]]) -> Tensor:
    """The logits (B, V), with those that a row's grammar does not allow at minus infinity."""
    barred = torch.zeros_like(logits)
    for row, (grammar, ids) in enumerate(rows):
        if grammar is not None:
            barred[row] = -torch.inf
            barred[row, list(grammar(ids))] = 0.0
    return logits + barred


def left_padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Ids and attention mask, both (B, T), every prompt ending at the last position."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    return ids, mask
