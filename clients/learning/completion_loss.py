"""Cross-entropy of completion tokens without ever holding all their logits.

The head is frozen, so the gradient of the loss with respect to a hidden state is
(softmax(logits) - one_hot(target)) W, which can be worked out block by block while the block's
logits exist. With a vocabulary of 50,257 the logits of a batch would otherwise be the largest
tensors of the whole step, several times over.

Letters: N = completion tokens, d = width of the model, V = vocabulary.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

SMALLEST = torch.finfo(torch.float32).tiny  # a probability that underflows counts as this
BLOCK_LOGITS = 1 << 23  # logits of one block, at the most (16 MiB in bfloat16)


def completion_loss(
    hidden_Nd: Tensor,
    weight_Vd: Tensor,
    bias_V: Tensor | None,
    targets_N: Tensor,
    *,
    gate: Callable[[], None] | None = None,
) -> Tensor:
    """Mean negative log-likelihood in nats per token; gradients for `hidden_Nd` only.

    `gate` is called before each block.
    """
    loss: Tensor = _BlockwiseLoss.apply(  # type: ignore[no-untyped-call]
        hidden_Nd.to(weight_Vd.dtype), weight_Vd, bias_V, targets_N, gate
    )
    return loss


class _BlockwiseLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        gate: Callable[[], None] | None,
    ) -> Tensor:
        rows = max(1, BLOCK_LOGITS // weight.shape[0])
        gradient = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None  # (N, d)
        total = 0.0
        for start in range(0, len(hidden), rows):
            if gate is not None:
                gate()
            block, wanted = hidden[start : start + rows], targets[start : start + rows, None]
            logits = functional.linear(block, weight, bias)  # (rows, V)
            if gradient is None:
                log_p = torch.log_softmax(logits, dim=-1, dtype=torch.float32).gather(1, wanted)
            else:
                # One tensor of the logits' size, in their dtype: softmax sums in float32 inside.
                slope = torch.softmax(logits, dim=-1)
                p = slope.gather(1, wanted)
                log_p = p.float().clamp_min(SMALLEST).log()
                slope.scatter_(1, wanted, p - 1.0)
                torch.mm(slope, weight, out=gradient[start : start + rows])
            total -= float(log_p.sum(dtype=torch.float64))
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return torch.tensor(total / len(hidden))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors  # (N, d), of the sum
        return gradient * (grad / len(gradient)).to(gradient.dtype), None, None, None, None
