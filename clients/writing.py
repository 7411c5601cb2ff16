"""Completes prompts, each with an adapter of its own, in one batch over one base model.

A `Writer` has modules of its own over the base's very weights, so nothing it does is seen by who
learns on the same base. Adapters are never folded into weights: what they add is computed beside,
    y = W x + b + s B (A x)
with A and B of each row's adapter. That costs a token a few per cent, and makes many adapters in
one batch cost hardly more than one.

Letters: B = rows of the batch, T = positions, r = rank, d_in / d_out = widths of a layer, n = 1
where all rows have one adapter, else B.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from clients.base_network import rows_out
from clients.greedy import Grammar, greedy_texts
from clients.weighing import Found, Trie, weigh
from fl.adapter import A_SUFFIX, B_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec, Array
from fl.errors import AdapterError, BaseModelError
from fl.sharing import same_but_rank

Sizes = Mapping[str, tuple[int, int]]  # adapted module -> (d_out, d_in)


@dataclass(frozen=True, kw_only=True)
class Line:
    """A prompt to be completed; `Writer.line` makes it and has checked everything."""

    ids: tuple[int, ...] = field(repr=False)
    adapter: Adapter = field(repr=False)
    max_new_tokens: int
    grammar: Grammar | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the model wrote for a line."""

    text: str = field(repr=False)  # stripped
    # -log p of each token that was chosen; batches of other rows differ in the last bits
    nats: tuple[float, ...] = field(repr=False, compare=False)
    cpu_seconds: float = field(default=0.0, compare=False)  # its share of a batch; 0: not counted


class Writer:
    """Greedy completions. The modules of `network` are its own, the weights may be shared."""

    def __init__(
        self,
        network: Any,
        tokenizer: Any,
        *,
        end_id: int,
        spec: AdapterSpec,
        layers: Sizes,
    ) -> None:
        """`layers` are the adapted ones, as in `BaseModel.layers`."""
        self._network = network
        self._tokenizer = tokenizer
        self._end_id = end_id
        self._positions: int = network.config.max_position_embeddings
        self._spec, self._sizes = spec, layers
        self._layers = _install(self._network, layers, spec.scale)

    def line(
        self,
        prompt: str,
        adapter: Adapter,
        *,
        max_new_tokens: int,
        grammar: Grammar | None = None,
    ) -> Line:
        """A prompt that leaves no room within the model's positions loses its beginning.

        Raises AdapterError where the adapter does not fit, BaseModelError for no room at all.
        """
        check_fits(adapter, self._spec, self._sizes)
        room = self._positions - max_new_tokens
        if max_new_tokens < 1 or room < 1:
            raise BaseModelError(
                f"max_new_tokens={max_new_tokens}: expected at least 1 and room for a prompt; "
                f"the model has {self._positions} positions."
            )
        ids = token_ids(self._tokenizer, prompt)[-room:] or [self._end_id]
        return Line(ids=tuple(ids), adapter=adapter, max_new_tokens=max_new_tokens, grammar=grammar)

    def write(
        self, lines: Sequence[Line], *, between: Callable[[], object] | None = None
    ) -> list[Written]:
        """What follows each prompt, in the same order.

        `between` is called between tokens; what it raises gives the writing up.
        """
        adapters = list({id(line.adapter): line.adapter for line in lines}.values())
        place = {id(adapter): i for i, adapter in enumerate(adapters)}
        whose = [place[id(line.adapter)] for line in lines]
        # Learning may stand in the middle of a step in bfloat16 on this very thread.
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            try:
                for layer in self._layers:
                    layer.take(adapters)
                new = greedy_texts(
                    self._network,
                    [line.ids for line in lines],
                    limits=[line.max_new_tokens for line in lines],
                    end_id=self._end_id,
                    on_rows=lambda rows: self._choose([whose[row] for row in rows]),
                    between=between,
                    grammars=_grammars(lines),
                )
            finally:
                for layer in self._layers:
                    layer.take([])
        return [Written(text=self._text(tokens.ids), nats=tuple(tokens.nats)) for tokens in new]

    def weigh(
        self,
        prompts: Sequence[str],
        adapter: Adapter,
        trie: Trie,
        *,
        width: int = 8,
        between: Callable[[], object] | None = None,
    ) -> list[Found]:
        """How probable the texts of a trie are after each prompt, all with one adapter.

        A list of (index of the text, log p in nats) for each prompt, best first; with `width` as
        large as there are texts it holds them all. Prompts too long for the model lose their
        beginning. Raises AdapterError where the adapter does not fit.
        """
        check_fits(adapter, self._spec, self._sizes)
        room = self._positions - trie.longest
        ids = [token_ids(self._tokenizer, prompt)[-room:] or [self._end_id] for prompt in prompts]
        with torch.inference_mode(), torch.autocast("cpu", enabled=False):
            try:
                for layer in self._layers:
                    layer.take([adapter])
                    layer.choose(torch.tensor([0]))
                return weigh(self._network, ids, trie, width=width, between=between)
            finally:
                for layer in self._layers:
                    layer.take([])

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(
            ids, skip_special_tokens=True, clean_up_tokenization_spaces=False
        )
        return text.strip()

    def _choose(self, chosen: Sequence[int]) -> None:
        """The adapter of each row from now on, by its place in the list the layers took."""
        one = len(set(chosen)) == 1
        rows = torch.tensor(chosen[:1] if one else chosen)
        for layer in self._layers:
            layer.choose(rows)


class WritingLayer:
    """One adapted linear layer. `weight` is (d_out, d_in), a view of the base's own tensor."""

    def __init__(self, name: str, weight: Tensor, bias: Tensor | None, *, scale: float) -> None:
        self._a_name = PEFT_PREFIX + name + A_SUFFIX
        self._b_name = PEFT_PREFIX + name + B_SUFFIX
        self._weight, self._bias, self._scale = weight, bias, scale
        self._taken: tuple[Tensor, Tensor] | None = None  # of all adapters of the batch
        self._chosen: tuple[Tensor, Tensor] | None = None  # (n, d_in, r), (n, r, d_out)

    def take(self, adapters: Sequence[Adapter]) -> None:
        """Keep what these adapters have for this layer; none of them frees it."""
        self._taken = self._chosen = None
        if adapters:
            rank = max(adapter.spec.rank for adapter in adapters)
            a = np.stack([_rows(adapter.tensors[self._a_name], rank) for adapter in adapters])
            b = np.stack([_rows(adapter.tensors[self._b_name].T, rank).T for adapter in adapters])
            self._taken = (
                torch.from_numpy(a).mT.contiguous(),
                torch.from_numpy(b).mT.mul(self._scale).contiguous(),
            )

    def choose(self, rows: Tensor) -> None:
        """Places in `take`'s adapters: one for every row of the batch, or a single one for all."""
        if self._taken is not None:
            a, b = self._taken
            self._chosen = a[rows], b[rows]

    def __call__(self, x: Tensor) -> Tensor:
        """(B, T, d_in) -> (B, T, d_out)."""
        y = functional.linear(x, self._weight, self._bias)
        if self._chosen is not None:
            a, b = self._chosen
            narrow = torch.bmm(x.reshape(len(a), -1, x.shape[-1]), a)  # (n, B T / n, r)
            y.view(len(a), -1, y.shape[-1]).baddbmm_(narrow, b)
        return y


def check_fits(adapter: Adapter, spec: AdapterSpec, layers: Sizes) -> None:
    """Raise AdapterError unless the adapter is for this base, layers and scale, of any rank."""
    if not same_but_rank(adapter.spec, spec):
        raise AdapterError(f"This model works with {spec}; the adapter has {adapter.spec}.")
    shapes: dict[str, tuple[int, int]] = {}
    for module, (d_out, d_in) in layers.items():
        shapes[PEFT_PREFIX + module + A_SUFFIX] = (adapter.spec.rank, d_in)
        shapes[PEFT_PREFIX + module + B_SUFFIX] = (d_out, adapter.spec.rank)
    if adapter.tensors.keys() != shapes.keys():
        odd = sorted(adapter.tensors.keys() ^ shapes.keys())
        raise AdapterError(f"{len(odd)} adapter tensors are missing or unknown: {odd[0]}, ...")
    for name, shape in shapes.items():
        if adapter.tensors[name].shape != shape:
            raise AdapterError(
                f"{name} must have shape {shape}, found {adapter.tensors[name].shape}."
            )


def token_ids(tokenizer: Any, text: str) -> list[int]:
    """Token ids of a text, without marks. Any thread."""
    # JSON may hold half a surrogate pair, which no tokenizer accepts.
    clean = text.encode("utf-8", "replace").decode()
    ids: list[int] = tokenizer(clean, add_special_tokens=False)["input_ids"]
    return ids


def _grammars(lines: Sequence[Line]) -> list[Grammar | None] | None:
    found = [line.grammar for line in lines]
    return found if any(found) else None


def _rows(matrix: Array, rank: int) -> Array:
    """The matrix with rows of zeros up to `rank`: directions that add nothing."""
    return np.pad(matrix, ((0, rank - len(matrix)), (0, 0)))


def _install(network: nn.Module, layers: Iterable[str], scale: float) -> list[WritingLayer]:
    """Give every layer that adapters adapt a forward that knows of rows."""
    installed = []
    for name in layers:
        module: Any = network.get_submodule(name)
        layer = WritingLayer(name, rows_out(module), module.bias, scale=scale)
        module.forward = layer
        installed.append(layer)
    return installed
