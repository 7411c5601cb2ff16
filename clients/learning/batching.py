"""Records become token ids, and token ids become batches with hardly any padding.

A record is  prompt (card and short prompt) | completion (enriched prompt) | end mark,  and only the
second and third are targets. Batches hold records of nearly equal length and are filled up to a
budget of tokens, so a step costs the same whether the records are long or short.

Letters: B = batch, T = positions, N = completion tokens of a batch.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from clients.edge_model import EdgeModel
from clients.prompts.record import PromptRecord
from fl.prompt_format import completion

LENGTH_JITTER = 0.05  # a record counts as up to this much longer, so batches differ by epoch
MOST_PADDING = 0.08  # of an epoch's tokens


@dataclass(frozen=True, kw_only=True)
class EncodedRecord:
    """One record as the model sees it; ids[completion_start:] are its targets."""

    ids: tuple[int, ...]
    completion_start: int  # at least 1: the first target is predicted from the token before it


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Records side by side, padded on the right."""

    ids: Tensor  # (B, T) int64
    sources: Tensor  # (N,) int64, positions in the flattened (B*T) that predict a target
    targets: Tensor  # (N,) int64
    tokens: int  # that are not padding


def encode(model: EdgeModel, record: PromptRecord, *, max_tokens: int) -> EncodedRecord:
    """Encode a record in at most `max_tokens` (and the model's positions).

    A longer record loses the end of its card first, then the end of its completion, and its end
    mark with it: the model must not learn that a text stops where it was cut. Only a short prompt
    that fills everything by itself loses its own beginning.
    """
    model.gate()  # a whole book takes seconds
    limit = min(max_tokens, model.positions)
    wanted = [*model.token_ids(completion(record.enriched)), model.end_id]
    prompt = _prompt_ids(model, record, limit=limit - len(wanted))
    if len(prompt) >= limit:
        prompt = prompt[-(limit - limit // 2) :]
    wanted = wanted[: limit - len(prompt)]
    return EncodedRecord(ids=(*prompt, *wanted), completion_start=len(prompt))


def _prompt_ids(model: EdgeModel, record: PromptRecord, *, limit: int) -> list[int]:
    """The prompt's ids, with as much of its card as `limit` leaves room for."""
    prompt = model.token_ids(record.prompt())
    if len(prompt) <= limit:
        return prompt
    card = model.token_ids(record.card)
    kept = len(card)
    while len(prompt) > limit and kept > 0:
        # A cut may merge differently with what follows, so the result is measured again.
        kept = max(0, kept - (len(prompt) - limit))
        card_text: str = model.tokenizer.decode(card[:kept]).rstrip("\ufffd ")
        prompt = model.token_ids(record.prompt(card_text))
    return prompt


def token_batches(
    records: Sequence[EncodedRecord], *, batch_tokens: int, seed: int, dropout: float = 0.0
) -> Iterator[TokenBatch]:
    """Batches for ever, epoch after epoch, each epoch with every record once in a new order.

    `dropout` is the share of prompt tokens that is left out, see `thinned`.
    """
    rng = random.Random(seed)
    while True:
        groups = length_groups([len(r.ids) for r in records], batch_tokens=batch_tokens, rng=rng)
        rng.shuffle(groups)
        for group in groups:
            chosen = [records[i] for i in group]
            yield pad([thinned(one, dropout, rng) for one in chosen] if dropout else chosen)


def thinned(record: EncodedRecord, share: float, rng: random.Random) -> EncodedRecord:
    """The record without some of its prompt's tokens, so that no single word decides.

    Word dropout (Iyyer et al. 2015, "Deep unordered composition", section 3). Tokens that the
    completion has too stay, for they may be copied from here; so does the last one.
    """
    wanted, last = set(record.ids[record.completion_start :]), record.completion_start - 1
    prompt = [
        token
        for place, token in enumerate(record.ids[: record.completion_start])
        if place == last or token in wanted or rng.random() >= share
    ]
    return EncodedRecord(
        ids=(*prompt, *record.ids[record.completion_start :]), completion_start=len(prompt)
    )


def length_groups(
    lengths: Sequence[int], *, batch_tokens: int, rng: random.Random | None = None
) -> list[list[int]]:
    """Indices grouped by length; rows x longest row of a group stays within `batch_tokens`.

    Few records of unlike lengths would be padded much: then the groups are made smaller.
    """
    jitter = [1.0 + (rng.uniform(0, LENGTH_JITTER) if rng else 0.0) for _ in lengths]
    order = sorted(range(len(lengths)), key=lambda i: (lengths[i] * jitter[i], i))
    longest, budget = max(lengths), batch_tokens
    groups = _even_groups(order, lengths, budget)
    while _padding_share(groups, lengths) > MOST_PADDING and budget > longest:
        budget = max(longest, budget * 3 // 4)
        groups = _even_groups(order, lengths, budget)
    return groups


def _even_groups(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    """As few groups as the budget allows, of about equal size.

    A small last batch would move the weights as much as a full one.
    """
    fewest = len(_fill(order, lengths, budget))
    low, high = max(lengths), max(budget, max(lengths))
    while low < high:  # the smallest budget that needs no more groups
        middle = (low + high) // 2
        if len(_fill(order, lengths, middle)) <= fewest:
            high = middle
        else:
            low = middle + 1
    return _fill(order, lengths, high)


def _padding_share(groups: Sequence[Sequence[int]], lengths: Sequence[int]) -> float:
    computed = sum(len(group) * max(lengths[i] for i in group) for group in groups)
    return 1.0 - sum(lengths) / computed


def _fill(order: Sequence[int], lengths: Sequence[int], budget: int) -> list[list[int]]:
    groups: list[list[int]] = []
    longest = 0
    for i in order:
        longest = max(longest, lengths[i])
        if groups and (len(groups[-1]) + 1) * longest <= budget:
            groups[-1].append(i)
        else:
            groups.append([i])
            longest = lengths[i]
    return groups


def pad(records: Sequence[EncodedRecord]) -> TokenBatch:
    """Put records side by side. What stands in the padding is never looked at: it comes last."""
    longest = max(len(record.ids) for record in records)
    ids = torch.zeros(len(records), longest, dtype=torch.long)
    sources: list[int] = []
    targets: list[int] = []
    for row, record in enumerate(records):
        ids[row, : len(record.ids)] = torch.tensor(record.ids)
        first = row * longest + record.completion_start - 1
        wanted = record.ids[record.completion_start :]
        sources.extend(range(first, first + len(wanted)))
        targets.extend(wanted)
    return TokenBatch(
        ids=ids,
        sources=torch.tensor(sources),
        targets=torch.tensor(targets),
        tokens=sum(len(record.ids) for record in records),
    )
