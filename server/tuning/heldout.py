"""The held-out loss of a cloud model: what a release is judged by."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from server.foundation.token_batch import TokenBatch, side_by_side
from server.foundation.tokenizer import TokenPair

_BATCH = 16  # pairs; a fixed number, so that equal weights have an equal loss to the last bit


def completion_logits(network: Any, batch: TokenBatch) -> Tensor:
    """Logits (N, vocabulary) where the batch predicts a completion token, and only there."""
    states_BTd = network.base_model(
        input_ids=batch.ids_BT.to(network.device), use_cache=False
    ).last_hidden_state
    logits_NV: Tensor = network.lm_head(states_BTd.flatten(0, 1)[batch.where_N])
    return logits_NV


def heldout_loss(network: Any, pairs: Sequence[TokenPair]) -> float:
    """Mean over all completion tokens of the pairs, nats; in the network's own precision."""
    ordered = sorted(pairs, key=len)  # hardly any padding
    nats, tokens = 0.0, 0
    with torch.inference_mode():
        for first in range(0, len(ordered), _BATCH):
            batch = side_by_side(ordered[first : first + _BATCH])
            logits_NV = completion_logits(network, batch)
            targets_N = batch.targets_N.to(logits_NV.device)
            nats += F.cross_entropy(logits_NV.double(), targets_N, reduction="sum").item()
            tokens += len(targets_N)
    return nats / tokens
