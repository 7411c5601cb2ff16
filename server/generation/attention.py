"""Attention of one step: what each token may look at, among keys and values kept by rows.

Letters as in llama.py: N tokens of the step, D sequences being written, R rows, C columns of the
cache, W columns in use, H heads, K key/value heads, G = H / K, d width of a head.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Some tokens of one prompt, to be read into a row behind what the row has."""

    row: int
    start: int  # position of the first
    ids: Sequence[int]


@dataclass(frozen=True, kw_only=True)
class Cache:
    """Keys and values, (layers, R, K, C, d) each. Positions are columns."""

    keys: Tensor
    values: Tensor


class Plan:
    """Who attends to what in one step; the same in every layer."""

    def __init__(
        self,
        cache: Cache,
        lengths_D: Sequence[int],
        stretches: Sequence[Stretch],
        *,
        groups: int,
    ) -> None:
        """`lengths_D` are the tokens that rows 0 to D - 1 hold before this step; `groups` is G."""
        self._cache, self._stretches, self._groups = cache, stretches, groups
        self._written = len(lengths_D)
        device = cache.keys.device
        if lengths_D:
            self._columns_D = torch.tensor(lengths_D, device=device)
            self._rows_D = torch.arange(self._written, device=device)
            self._width = max(lengths_D) + 1
            columns_W = torch.arange(self._width, device=device)
            self._mask_D11W = _mask(columns_W <= self._columns_D[:, None])[:, None, None]
        self._masks = [self._stretch_mask(stretch, device) for stretch in stretches]

    def attend(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Put k and v (N, K, d) into the cache; attended q (N, H, d) as (N, H * d)."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        G, D = self._groups, self._written
        K, d = k.shape[1], k.shape[2]
        attended = []
        if D:
            keys[self._rows_D, :, self._columns_D] = k[:D]
            values[self._rows_D, :, self._columns_D] = v[:D]
            # The G queries that share a key take the place of G positions.
            out = F.scaled_dot_product_attention(
                q[:D].view(D, K, G, d),
                keys[:D, :, : self._width],
                values[:D, :, : self._width],
                attn_mask=self._mask_D11W,
            )
            attended.append(out.reshape(D, K * G * d))
        at = D
        for stretch, mask in zip(self._stretches, self._masks, strict=True):
            n = len(stretch.ids)
            end = stretch.start + n
            keys[stretch.row, :, stretch.start : end] = k[at : at + n].transpose(0, 1)
            values[stretch.row, :, stretch.start : end] = v[at : at + n].transpose(0, 1)
            out = F.scaled_dot_product_attention(
                q[at : at + n].view(n, K, G, d).permute(1, 2, 0, 3).reshape(1, K, G * n, d),
                keys[None, stretch.row, :, :end],
                values[None, stretch.row, :, :end],
                attn_mask=mask,
            )
            attended.append(out.view(K, G, n, d).permute(2, 0, 1, 3).reshape(n, K * G * d))
            at += n
        return attended[0] if len(attended) == 1 else torch.cat(attended)

    def _stretch_mask(self, stretch: Stretch, device: torch.device) -> Tensor:
        end = stretch.start + len(stretch.ids)
        rows_n1 = torch.arange(stretch.start, end, device=device)[:, None]
        mask_nW = _mask(torch.arange(end, device=device) <= rows_n1)
        return mask_nW.repeat(self._groups, 1)


def _mask(seen: Tensor) -> Tensor:
    return torch.zeros(seen.shape, device=seen.device).masked_fill_(~seen, float("-inf"))
