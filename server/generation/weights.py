"""Linear layers as the engine computes them: float32, bfloat16, or 8 bits a weight.

On a CPU float32 layers use oneDNN with weights packed once: at the few rows of a decoding step it
is two to four times as fast as the plain product (measured on an AVX-512 machine). int8 keeps one
scale for each row of the weight; activations are rounded at each call, with one scale for all rows
of the batch, so an int8 answer may depend on what is decoded beside it.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fl.processor import sums_int8_exactly

Linear = Callable[[Tensor], Tensor]  # (N, d_in) float32 -> (N, d_out) float32

_PACKED_FOR = 16  # rows that oneDNN lays a packed weight out for
_WORTH_PACKING = 1 << 18  # numbers of a weight; below that the plain product is as fast


def linear(weight: Tensor, bias: Tensor | None, kind: str) -> Linear:
    """A layer of this kind: float32, bfloat16 or int8; `weight` is (d_out, d_in) float32."""
    if kind == "int8":
        return _int8(weight, bias)
    if kind == "bfloat16":
        return _bfloat16(weight, bias)
    has_onednn: bool = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if has_onednn and weight.device.type == "cpu" and weight.numel() >= _WORTH_PACKING:
        return _packed(weight, bias)
    return lambda x: F.linear(x, weight, bias)


def _packed(weight: Tensor, bias: Tensor | None) -> Linear:
    # The operators torch.compile uses for frozen weights; they have no public name.
    ops: Any = torch.ops.mkldnn
    packed = ops._reorder_linear_weight(weight, _PACKED_FOR)
    return lambda x: ops._linear_pointwise(x, packed, bias, "none", [], "")


def _bfloat16(weight: Tensor, bias: Tensor | None) -> Linear:
    weight, bias = weight.bfloat16(), None if bias is None else bias.bfloat16()
    return lambda x: F.linear(x.bfloat16(), weight, bias).float()


def _int8(weight: Tensor, bias: Tensor | None) -> Linear:
    if weight.device.type != "cpu":
        raise ValueError("int8 weights are for the CPU")  # loading.py says so to people
    scales = weight.abs().amax(dim=1).clamp(min=1e-12) / 127
    zeros = torch.zeros(len(weight), dtype=torch.long)
    with warnings.catch_warnings():
        # torch names a successor of this API that is a library of its own; the kernels stay.
        warnings.simplefilter("ignore")
        rounded = torch.quantize_per_channel(weight, scales.double(), zeros, 0, torch.qint8)
    ops: Any = torch.ops.quantized
    packed = ops.linear_prepack(rounded, bias)
    fewer_bits = not sums_int8_exactly()  # activations of 7 bits: their sums do not overflow
    return lambda x: ops.linear_dynamic(x, packed, fewer_bits)
