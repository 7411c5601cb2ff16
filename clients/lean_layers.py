"""The forward and backward of frozen and LoRA-adapted linear layers, in as few passes as it takes.

PEFT computes  base(x) + lora_B(lora_A(x)) * scale  from general modules: several temporaries of the
size of the output, and under autocast every frozen weight is converted again in every call. Here
    y = W x + b + s B (A x)
is one product that a small one is added to in place, the backward leaves out what is frozen, and
the bfloat16 copy of a frozen weight is made once. PEFT's modules stay where they are and keep the
parameters; only their `forward` is replaced. A test holds both to the same logits.

Letters: T = rows (batch x positions), r = rank, d_in / d_out = widths of a layer.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.base_network import rows_out

BFLOAT16 = torch.bfloat16


class Gate:
    """What learning passes many times a step, so that others need not wait for the step's end.

    Whoever sets `way` gets the thread there. It may compute what it likes on other modules, and
    raise; learning goes on with the same bits.
    """

    def __init__(self) -> None:
        self.way: Callable[[], None] | None = None

    def __call__(self) -> None:
        """Pass; on learning's thread."""
        if self.way is not None:
            self.way()


class LeanLayer:
    """One linear layer. `weight` is (d_out, d_in), a view of the base model's own tensor."""

    def __init__(self, weight: Tensor, bias: Tensor | None, gate: Gate) -> None:
        self.weight = weight
        self.bias = bias
        self.lora_a: nn.Parameter | None = None  # (r, d_in)
        self.lora_b: nn.Parameter | None = None  # (d_out, r)
        self.scale: float | Tensor = 1.0  # one for all directions, or (r,)
        self._gate = gate
        self._rounded: tuple[Tensor, Tensor | None] | None = None

    def adapt(self, lora_a: nn.Parameter, lora_b: nn.Parameter, *, scale: float) -> None:
        """Add  scale * B A  to the layer's weight from now on, whatever rank A and B then have."""
        self.lora_a, self.lora_b, self.scale = lora_a, lora_b, scale

    def __call__(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d_out); in bfloat16 where autocast is on, like any linear layer."""
        self._gate()
        if torch.is_autocast_enabled("cpu"):
            x = x.to(BFLOAT16)
            weight, bias = self.rounded()
        else:
            weight, bias = self.weight, self.bias
        if self.lora_a is None:
            return functional.linear(x, weight, bias)
        y: Tensor = _LowRankLinear.apply(  # type: ignore[no-untyped-call]
            x, weight, bias, self.lora_a, self.lora_b, self.scale, self._gate
        )
        return y

    def rounded(self) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in bfloat16, converted at the first call and kept: they are frozen."""
        if self._rounded is None:
            bias = None if self.bias is None else self.bias.to(BFLOAT16)
            self._rounded = self.weight.to(BFLOAT16), bias
        return self._rounded


class NeededRows:
    """A row-by-row module, computed only for the rows somebody will look at.

    In the last block nothing mixes positions after the attention, and only the positions that
    predict a target reach the head. So the block's feed-forward part, two thirds of its work, is
    left out for all others; they get 0.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        self._forward = forward
        self.rows: Tensor | None = None  # indices into (B * T); None computes all

    def __call__(self, x: Tensor) -> Tensor:
        """(B, T, d) -> (B, T, d)."""
        if self.rows is None:
            return self._forward(x)
        y = self._forward(x.flatten(0, 1)[self.rows])  # (rows, d)
        return (
            y.new_zeros(x.shape[0] * x.shape[1], y.shape[1])
            .index_copy(0, self.rows, y)
            .view(*x.shape[:2], -1)
        )


class _LowRankLinear(torch.autograd.Function):
    """y = W x + b + s B (A x); gradients for x, A and B, never for W and b."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float | Tensor,
        gate: Gate,
    ) -> Tensor:
        rows = x.reshape(-1, x.shape[-1])  # (T, d_in)
        a_cast = a.to(x.dtype)
        b_scaled = (b * scale).to(x.dtype)  # the scale enters once, on the smallest tensor
        narrow = rows @ a_cast.t()  # (T, r)
        y = functional.linear(rows, weight, bias)  # (T, d_out)
        y.addmm_(narrow, b_scaled.t())
        ctx.save_for_backward(rows, weight, a_cast, b_scaled, narrow)
        ctx.scale, ctx.gate = scale, gate
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        ctx.gate()
        rows, weight, a_cast, b_scaled, narrow = ctx.saved_tensors
        grad_rows = grad.reshape(-1, grad.shape[-1])  # (T, d_out)
        grad_narrow = grad_rows @ b_scaled  # (T, r)
        grad_a = (grad_narrow.t() @ rows).float()  # (r, d_in)
        grad_b = (grad_rows.t() @ narrow).float().mul_(ctx.scale)  # (d_out, r)
        grad_x = None
        if ctx.needs_input_grad[0]:  # not below the first adapted layer
            grad_x = (grad_rows @ weight).addmm_(grad_narrow, a_cast)
            grad_x = grad_x.view(*grad.shape[:-1], -1)
        return grad_x, None, None, grad_a, grad_b, None, None


def install_lean_layers(body: nn.Module, adapter: str, scale: float, gate: Gate) -> list[LeanLayer]:
    """Give every linear layer of the transformer body a lean forward; PEFT keeps the parameters.

    `adapter` is PEFT's name for the one there is. Returns the adapted layers.
    """
    from peft.tuners.lora import LoraLayer
    from transformers.pytorch_utils import Conv1D

    adapted = []
    for module in [m for m in body.modules() if isinstance(m, LoraLayer | nn.Linear | Conv1D)]:
        plain = module.get_base_layer() if isinstance(module, LoraLayer) else module
        if plain.weight.requires_grad:
            continue  # lora_A and lora_B are linear layers too
        lean = LeanLayer(rows_out(plain), plain.bias, gate)
        if isinstance(module, LoraLayer):
            lean.adapt(module.lora_A[adapter].weight, module.lora_B[adapter].weight, scale=scale)
            adapted.append(lean)
        module.forward = lean  # type: ignore[method-assign]
    return adapted


def install_needed_rows(body: nn.Module) -> NeededRows:
    """Let the last block's feed-forward part leave out rows; GPT-2 and LLaMA both call it mlp."""
    found = [module for name, module in body.named_modules() if name.endswith(".mlp")]
    needed = NeededRows(found[-1].forward if found else nn.Identity())
    if found:
        found[-1].forward = needed
    return needed
