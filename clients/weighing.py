"""How probable a model finds each of some texts after a prompt: a beam through their trie.

Level by level, over all prompts of a batch at once: the prompts are read once, and every kept
prefix then takes its row of the key-value cache along. A level at which no prefix has a choice
costs nothing: its only token is read together with the next that matters. With a beam as wide as
there are texts the probabilities are exact and sum to one; a narrower one finds the best with less
work.

Letters: B = prompts of a batch, T = tokens of the longest, R = kept prefixes, V = vocabulary.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from clients.greedy import PADDED_TOKENS, ROWS, left_padded

Prefix = tuple[int, ...]


class Trie(Protocol):
    """`clients.insight.choices.Options` is one."""

    @property
    def children(self) -> Mapping[Prefix, Sequence[int]]:
        """Prefix -> the tokens that may follow it."""

    @property
    def longest(self) -> int:
        """Tokens of the longest text."""

    def index_of(self, prefix: Prefix) -> int | None:
        """Which text the whole prefix is."""


Found = list[tuple[int, float]]  # (index of the text, log p), best first


@dataclass(frozen=True, kw_only=True)
class _Kept:
    """A prefix of the beam; at any time all are equally long."""

    whose: int  # prompt of the batch
    row: int  # of the cache, which has read the prefix or its beginning
    prefix: Prefix
    log_p: float


@torch.inference_mode()
def weigh(
    network: Any,
    prompts: Sequence[Sequence[int]],
    trie: Trie,
    *,
    width: int,
    between: Callable[[], object] | None = None,
) -> list[Found]:
    """The texts a beam of `width` prefixes finds for every prompt, in the order given.

    `between` is called before each call of the network; what it raises gives it up.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]), reverse=True)
    found: list[Found] = [[] for _ in prompts]
    while order:
        rows = max(1, min(ROWS, PADDED_TOKENS // len(prompts[order[0]])))
        batch, order = order[:rows], order[rows:]
        weighed = _weigh_batch(network, [prompts[i] for i in batch], trie, width, between)
        for i, result in zip(batch, weighed, strict=True):
            found[i] = result
    return found


def _weigh_batch(
    network: Any,
    prompts: Sequence[Sequence[int]],
    trie: Trie,
    width: int,
    between: Callable[[], object] | None,
) -> list[Found]:
    reading = _Reading(network, prompts)
    found: list[Found] = [[] for _ in prompts]
    kept = [_Kept(whose=i, row=i, prefix=(), log_p=0.0) for i in range(len(prompts))]
    while True:
        shares = [[0.0]] * len(kept)
        if reading.is_new or any(len(trie.children[one.prefix]) > 1 for one in kept):
            if between is not None:
                between()
            logits = reading.logits(kept)  # (R, V)
            kept = [replace(one, row=row) for row, one in enumerate(kept)]
            shares = [
                torch.log_softmax(
                    logits[one.row, list(trie.children[one.prefix])].double(), dim=0
                ).tolist()
                for one in kept
            ]
        longer: list[list[_Kept]] = [[] for _ in prompts]  # by prompt
        for one, of_children in zip(kept, shares, strict=True):
            for token, share in zip(trie.children[one.prefix], of_children, strict=True):
                after = replace(one, prefix=(*one.prefix, token), log_p=one.log_p + share)
                if (index := trie.index_of(after.prefix)) is not None:
                    found[one.whose].append((index, after.log_p))
                else:
                    longer[one.whose].append(after)
        kept = [
            one
            for candidates, done in zip(longer, found, strict=True)
            for one in _worth(candidates, done, width)
        ]
        if not kept:
            return [sorted(one, key=lambda pair: (-pair[1], pair[0])) for one in found]


class _Reading:
    """The key-value cache of what the network has read, a row for each kept prefix."""

    def __init__(self, network: Any, prompts: Sequence[Sequence[int]]) -> None:
        from transformers import DynamicCache

        self._network, self._cache = network, DynamicCache(config=network.config)
        self._ids, self._mask = left_padded(prompts)  # (B, T)
        self._positions = (self._mask.cumsum(1) - 1).clamp_(min=0)
        self._depth = 0  # tokens of every prefix that are read
        self.is_new = True

    def logits(self, kept: Sequence[_Kept]) -> Tensor:
        """Of what follows each prefix, (R, V); row i of the cache is then the i-th one's."""
        if not self.is_new:
            rows = torch.tensor([one.row for one in kept])
            self._cache.batch_select_indices(rows)
            self._ids = torch.tensor([one.prefix[self._depth :] for one in kept])  # (R, new)
            self._mask = torch.cat([self._mask[rows], self._mask.new_ones(self._ids.shape)], dim=1)
            new = torch.arange(1, self._ids.shape[1] + 1)
            self._positions = self._positions[rows, -1:] + new
        self.is_new, self._depth = False, len(kept[0].prefix)
        logits: Tensor = self._network(
            input_ids=self._ids,
            attention_mask=self._mask,
            position_ids=self._positions,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        return logits


def _worth(candidates: list[_Kept], found: Found, width: int) -> list[_Kept]:
    """The `width` most probable prefixes; none that cannot beat what so many texts have."""
    done = sorted((log_p for _, log_p in found), reverse=True)
    least = done[width - 1] if len(done) >= width else -math.inf
    worth = (one for one in candidates if one.log_p > least)
    return sorted(worth, key=lambda one: (-one.log_p, one.prefix))[:width]
