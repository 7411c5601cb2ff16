"""A LLaMA that reads and writes many sequences in one pass, with a key/value cache by rows.

All tokens of a step, one each of the sequences being written and a stretch each of the prompts
being read, go through the linear layers as one flat list; only attention looks at rows. So nothing
is padded and every weight is read once a step. transformers owns format and loading; its forward
pass costs more in general machinery than a small model's arithmetic.

Letters: N tokens of the step, D sequences being written (one token each, rows 0 to D - 1 of the
cache), H heads, K key/value heads, d width of a head, h hidden width, V vocabulary.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fl.errors import BaseModelError
from server.generation.attention import Cache, Plan, Stretch
from server.generation.weights import Linear, linear

_ROPE_OF_ANY_LENGTH = ("default", "linear", "llama3", "yarn")  # cosines depend on positions alone


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
        self.width: int = config.hidden_size
        with torch.inference_mode():
            self._embedding: Tensor = model.model.embed_tokens.weight
            self._rotation_Pd = _rotations(model.model.rotary_emb, positions, self.device)
            self._layers = [self._layer(block, weights) for block in model.model.layers]
            self._norm: Tensor = model.model.norm.weight
            self._head = linear(model.lm_head.weight, model.lm_head.bias, weights)

    def new_cache(self, rows: int, columns: int, *, first: int = 0) -> Cache:
        """An empty cache, of the layers from `first` on."""
        shape = (self.layers - first, rows, self.kv_heads, columns, self.head_width)
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
        plan = Plan(cache, lengths_D, stretches, groups=self.heads // self.kv_heads)
        ids_N = torch.tensor(ids, device=self.device)
        x = self._through(F.embedding(ids_N, self._embedding), positions, plan, first=0)
        if len(predict) < len(ids):
            x = x[torch.tensor(predict, dtype=torch.long, device=self.device)]
        return self._head(self._normed(x, self._norm))

    def forward_from(self, first: int, cache: Cache, x_Nh: Tensor, *, start: int) -> Tensor:
        """Logits (V,) after N hidden states of one sequence that enter layer `first`.

        The layers before it ran elsewhere. `cache` has one row and the layers from `first` on;
        `start` is how many tokens it holds.
        """
        count = len(x_Nh)
        if count == 1:
            plan = Plan(cache, [start], [], groups=self.heads // self.kv_heads)
        else:
            stretch = Stretch(row=0, start=start, ids=range(count))
            plan = Plan(cache, [], [stretch], groups=self.heads // self.kv_heads)
        positions = range(start, start + count)
        x = self._through(x_Nh.to(self.device), positions, plan, first=first)
        return self._head(self._normed(x[-1:], self._norm))[0]

    def _through(self, x: Tensor, positions: Sequence[int], plan: Plan, *, first: int) -> Tensor:
        """Hidden states (N, h) through the layers from `first` on."""
        turn_N1d = self._rotation_Pd[torch.tensor(positions, device=self.device)].unsqueeze(1)
        for number, layer in enumerate(self._layers[first:]):
            x = x + layer.out(self._attend(number, layer, x, turn_N1d, plan))
            gate, up = layer.gate_up(self._normed(x, layer.norm_mlp)).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate) * up)
        return x

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
        self, number: int, layer: _Layer, x: Tensor, turn_N1d: Tensor, plan: Plan
    ) -> Tensor:
        H, K, d = self.heads, self.kv_heads, self.head_width
        qkv = layer.qkv(self._normed(x, layer.norm_in)).view(-1, H + 2 * K, d)
        pairs = torch.view_as_complex(qkv[:, : H + K].reshape(-1, H + K, d // 2, 2))
        turned = torch.view_as_real(pairs * turn_N1d).flatten(-2)
        q, k, v = turned[:, :H], turned[:, H:], qkv[:, H + K :]
        return plan.attend(number, q, k, v)

    def _normed(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.rms_norm(x, (self.width,), weight, self._epsilon)

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
