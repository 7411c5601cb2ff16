"""How probable a model finds each of some texts after a prompt: a beam through their trie.

Level by level, over all prompts of a batch at once: the prompts are read once, and every kept
prefix then takes its row of the key-value cache along. With a beam as wide as there are texts the
probabilities are exact and sum to one; a narrower one finds the best with less work.

Letters: B = prompts of a batch, R = kept prefixes of all its prompts.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch

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
    from transformers import DynamicCache

    ids, mask = left_padded(prompts)  # (B, T)
    positions = (mask.cumsum(1) - 1).clamp_(min=0)
    cache = DynamicCache(config=network.config)
    found: list[Found] = [[] for _ in prompts]
    # a row of the cache each: whose it is, what was chosen so far, its log p
    kept: list[tuple[int, Prefix, float]] = [(row, (), 0.0) for row in range(len(prompts))]
    while True:
        if between is not None:
            between()
        logits = network(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]  # (R, V)
        longer: list[list[tuple[float, int, Prefix]]] = [[] for _ in prompts]  # by prompt
        for row, (whose, prefix, log_p) in enumerate(kept):
            children = trie.children[prefix]
            shares = torch.log_softmax(logits[row, list(children)].double(), dim=0).tolist()
            for token, share in zip(children, shares, strict=True):
                after = (*prefix, token)
                if (index := trie.index_of(after)) is not None:
                    found[whose].append((index, log_p + share))
                else:
                    longer[whose].append((log_p + share, row, after))
        best = [
            (row, whose, after, log_p)
            for whose, candidates in enumerate(longer)
            for log_p, row, after in _worth(candidates, found[whose], width)
        ]
        if not best:
            return [sorted(one, key=lambda pair: (-pair[1], pair[0])) for one in found]
        parents = torch.tensor([row for row, *_ in best])
        cache.batch_select_indices(parents)
        mask = torch.cat([mask[parents], mask.new_ones(len(best), 1)], dim=1)
        positions = positions[parents, -1:] + 1
        ids = torch.tensor([[after[-1]] for *_, after, _ in best])
        kept = [(whose, after, log_p) for _, whose, after, log_p in best]


def _worth(
    candidates: list[tuple[float, int, Prefix]], found: Found, width: int
) -> list[tuple[float, int, Prefix]]:
    """The `width` most probable prefixes; none that cannot beat what so many texts have."""
    done = sorted((log_p for _, log_p in found), reverse=True)
    least = done[width - 1] if len(done) >= width else -math.inf
    return sorted((c for c in candidates if c[0] > least), key=lambda c: (-c[0], c[2]))[:width]
