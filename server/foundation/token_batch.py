"""Token pairs side by side, as the networks read them while they learn.

Letters: B pairs of a batch, T tokens, N completion tokens of the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from server.foundation.tokenizer import TokenPair


@dataclass(frozen=True, kw_only=True)
class TokenBatch:
    """Pairs side by side, padded on the right; causal attention needs no mask for that."""

    ids_BT: Tensor  # int64
    where_N: Tensor  # int64, positions in the flattened (B * T) that predict a target
    targets_N: Tensor  # int64


def side_by_side(pairs: Sequence[TokenPair]) -> TokenBatch:
    """One batch of these pairs."""
    longest = max(map(len, pairs))
    ids_BT = torch.zeros(len(pairs), longest, dtype=torch.long)
    where: list[int] = []
    targets: list[int] = []
    for row, pair in enumerate(pairs):
        ids_BT[row, : len(pair)] = torch.tensor(pair.prompt + pair.completion)
        first = row * longest + len(pair.prompt) - 1
        where.extend(range(first, first + len(pair.completion)))
        targets.extend(pair.completion)
    return TokenBatch(ids_BT=ids_BT, where_N=torch.tensor(where), targets_N=torch.tensor(targets))
