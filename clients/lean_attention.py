"""Causal attention for training in bfloat16 on a CPU, registered with transformers as "lean".

torch's fused CPU attention is slower backwards in bfloat16 than in float32 (three times at 60
positions, measured on AVX512-BF16), because it multiplies blocks of one head at a time. Batched
products over all heads are faster than both up to a few hundred positions. Everything else
(float32, left-padded generation, grouped queries, long sequences) goes to torch's own attention.

Letters: B = batch, H = heads, T = positions, D = width of a head.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

NAME = "lean"
LONGEST = 512  # positions; beyond, the (T, T) scores of every head cost more memory than they save


def register() -> str:
    """Make `attn_implementation="lean"` known to transformers; return that name."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)  # None where a plain causal mask is meant
    return NAME


def attend(
    module: nn.Module,
    query: Tensor,  # (B, H, T, D)
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **rest: Any,  # transformers passes every attention function what any of them may want
) -> tuple[Tensor, None]:
    """Attend; return (B, T, H, D) as transformers expects it, and no weights."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if _suits(query, key, attention_mask, dropout):
        scale = query.shape[-1] ** -0.5 if scaling is None else scaling
        return _batched(query, key, value, scale).transpose(1, 2), None
    fused = partial(
        sdpa_attention_forward,
        module,
        attention_mask=attention_mask,
        dropout=dropout,
        scaling=scaling,
        **rest,
    )
    if not torch.is_autocast_enabled("cpu"):
        output, _ = fused(query=query, key=key, value=value)
    else:
        with torch.autocast("cpu", enabled=False):
            output, _ = fused(query=query.float(), key=key.float(), value=value.float())
    return output, None


def _suits(query: Tensor, key: Tensor, attention_mask: Tensor | None, dropout: float) -> bool:
    return (
        torch.is_autocast_enabled("cpu")
        and attention_mask is None
        and dropout == 0.0
        and query.shape == key.shape  # neither a cache nor grouped queries
        and query.shape[2] <= LONGEST
    )


def _batched(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """softmax(scale Q K^T + causal mask) V; under autocast the products are bfloat16."""
    length = query.shape[2]
    future = torch.full((length, length), float("-inf"), dtype=torch.bfloat16).triu(1)
    scores = torch.matmul(query * scale, key.transpose(-1, -2)) + future  # (B, H, T, T)
    weights = torch.softmax(scores, dim=-1)  # summed in float32 inside
    return torch.matmul(weights, value)  # (B, H, T, D)
