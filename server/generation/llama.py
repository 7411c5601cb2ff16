"""A LLaMA that reads and writes many sequences in one pass, with a key/value cache by rows.

All tokens of a step, one each of the sequences being written and a stretch each of the prompts
being read, go through the linear layers as one flat list; only attention looks at rows. So nothing
is padded and every weight is read once a step. transformers owns format and loading; its forward
pass costs more in general machinery than a small model's arithmetic.

Letters: N tokens of the step, D sequences being written (one token each, rows 0 to D - 1 of the
cache), R rows, C columns of the cache, W columns in use, H heads, K key/value heads, G = H / K,
d width of a head, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fl.errors import BaseModelError
from server.generation.weights import Linear, linear

_ROPE_OF_ANY_LENGTH = ("default", "linear", "llama3", "yarn")  # cosines depend on positions alone


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


@dataclass(frozen=True)
class _Layer:
    norm_in: Tensor
    qkv: Linear
    out: Linear
    norm_mlp: Tensor
    gate_up: Linear
    down: Linear


class Llama:
    """The weights of a transformers LLaMA, laid out for decoding."""

    def __init__(self, model: Any, *, weights: str, positions: int) -> None:
        """`model` is a LlamaForCausalLM in float32; `positions` bounds prompt and answer together.

        Raises BaseModelError for a variant of LLaMA that is not computed here.
        """
        config = model.config
        _check(config)
        self.device = model.device
        self.heads: int = config.num_attention_heads
        self.kv_heads: int = config.num_key_value_heads
        self.head_width: int = config.head_dim
        self.layers: int = config.num_hidden_layers
        self._epsilon: float = config.rms_norm_eps
        self._width: int = config.hidden_size
        with torch.inference_mode():
            self._embedding: Tensor = model.model.embed_tokens.weight
            self._rotation_Pd = _rotations(model.model.rotary_emb, positions, self.device)
            self._layers = [self._layer(block, weights) for block in model.model.layers]
            self._norm: Tensor = model.model.norm.weight
            self._head = linear(model.lm_head.weight, model.lm_head.bias, weights)

    def new_cache(self, rows: int, columns: int) -> Cache:
        """An empty cache."""
        shape = (self.layers, rows, self.kv_heads, columns, self.head_width)
        return Cache(keys=self._zeros(shape), values=self._zeros(shape))

    def _zeros(self, shape: tuple[int, ...]) -> Tensor:
        if self.device.type == "cpu":  # memory that is touched only when it is used
            return torch.from_numpy(np.zeros(shape, np.float32))
        return torch.zeros(shape, device=self.device)

    def forward(
        self,
        cache: Cache,
        last_D: Sequence[int],
        lengths_D: Sequence[int],
        stretches: Sequence[Stretch],
        *,
        predict: Sequence[int],
    ) -> Tensor:
        """One step; returns logits (len(predict), V) in float32.

        `last_D` are the newest tokens of rows 0 to D - 1, which hold `lengths_D` tokens before.
        `predict` are indices into the step's tokens, rows being written first, then stretches.
        """
        ids = list(last_D)
        positions = list(lengths_D)
        for stretch in stretches:
            ids += stretch.ids
            positions += range(stretch.start, stretch.start + len(stretch.ids))
        plan = _Plan(self, cache, lengths_D, stretches)
        ids_N = torch.tensor(ids, device=self.device)
        turn_N1d = self._rotation_Pd[torch.tensor(positions, device=self.device)].unsqueeze(1)
        x = F.embedding(ids_N, self._embedding)
        for number, layer in enumerate(self._layers):
            x = x + layer.out(self._attend(number, layer, x, turn_N1d, plan))
            gate, up = layer.gate_up(self._normed(x, layer.norm_mlp)).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate) * up)
        if len(predict) < len(ids):
            x = x[torch.tensor(predict, dtype=torch.long, device=self.device)]
        return self._head(self._normed(x, self._norm))

    def logits(self, ids: Sequence[int], *, first: int) -> Tensor:
        """What follows each token of one text from the index `first` on; (len(ids) - first, V)."""
        return self.forward(
            self.new_cache(1, len(ids)),
            [],
            [],
            [Stretch(row=0, start=0, ids=ids)],
            predict=range(first, len(ids)),
        )

    def _attend(
        self, number: int, layer: _Layer, x: Tensor, turn_N1d: Tensor, plan: "_Plan"
    ) -> Tensor:
        H, K, d = self.heads, self.kv_heads, self.head_width
        qkv = layer.qkv(self._normed(x, layer.norm_in)).view(-1, H + 2 * K, d)
        pairs = torch.view_as_complex(qkv[:, : H + K].reshape(-1, H + K, d // 2, 2))
        turned = torch.view_as_real(pairs * turn_N1d).flatten(-2)
        q, k, v = turned[:, :H], turned[:, H:], qkv[:, H + K :]
        return plan.attend(number, q, k, v)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (self._width,), weight, self._epsilon)

    def _layer(self, block: Any, weights: str) -> _Layer:
        attention, mlp = block.self_attn, block.mlp
        q, k, v = attention.q_proj, attention.k_proj, attention.v_proj
        d = self.head_width
        # Rotary pairs lie half a head apart; side by side they are one complex product. Queries
        # and keys are reordered alike, so their products stay.
        return _Layer(
            norm_in=block.input_layernorm.weight,
            qkv=linear(
                torch.cat([_paired(q.weight, d), _paired(k.weight, d), v.weight]),
                _joined(_paired(q.bias, d), _paired(k.bias, d), v.bias),
                weights,
            ),
            out=linear(attention.o_proj.weight, attention.o_proj.bias, weights),
            norm_mlp=block.post_attention_layernorm.weight,
            gate_up=linear(
                torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight]),
                _joined(mlp.gate_proj.bias, mlp.up_proj.bias),
                weights,
            ),
            down=linear(mlp.down_proj.weight, mlp.down_proj.bias, weights),
        )


class _Plan:
    """Who attends to what in one step; the same in every layer."""

    def __init__(
        self,
        network: Llama,
        cache: Cache,
        lengths_D: Sequence[int],
        stretches: Sequence[Stretch],
    ) -> None:
        self._cache, self._stretches = cache, stretches
        self._groups = network.heads // network.kv_heads
        self._written = len(lengths_D)
        device = network.device
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


def _paired(tensor: Tensor | None, d: int) -> Any:
    """Rows of each head from first half, second half to one of each in turn."""
    if tensor is None:
        return None
    by_head = tensor.view(-1, 2, d // 2, *tensor.shape[1:])
    return by_head.transpose(1, 2).reshape(tensor.shape)


def _joined(*biases: Tensor | None) -> Tensor | None:
    there = [bias for bias in biases if bias is not None]
    return torch.cat(there) if len(there) == len(biases) else None


def _rotations(rotary: Any, positions: int, device: torch.device) -> Tensor:
    """Complex rotations (positions, d / 2), with whatever scaling the configuration asks for."""
    ids = torch.arange(positions, device=device)[None]
    cosines, sines = rotary(torch.zeros(1, device=device), ids)
    half = cosines.shape[-1] // 2
    return torch.complex(cosines[0, :, :half].float(), sines[0, :, :half].float())


def _check(config: Any) -> None:
    rope = (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default")
    expected = [
        ("model_type", config.model_type, ("llama",)),
        ("hidden_act", getattr(config, "hidden_act", None), ("silu",)),
        ("rope_type", rope, _ROPE_OF_ANY_LENGTH),
    ]
    for name, found, allowed in expected:
        if found not in allowed:
            raise BaseModelError(
                f"The cloud's engine computes LLaMA with {name} {' or '.join(allowed)}; this model "
                f"has {found!r}. Serve it with another engine (engine.kind=remote, engine.url)."
            )
