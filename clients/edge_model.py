"""The model at a site: a frozen base, one LoRA adapter that learns, and a writer beside it.

The base is loaded once per process and shared by every site that process works for. So an adapter
is always set as a whole: no tensor of the site before survives. PEFT makes the adapter and owns its
parameters; LeanLayer computes with them. The writer computes on the same base with whatever
adapters its prompts bring, and may do so in the middle of a step of learning, at its gate.

Letters: B = batch, T = positions, d = width of the model, V = vocabulary.
"""

import os
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from clients.base_network import end_id, load_network, load_tokenizer, twin
from clients.lean_layers import Gate, LeanLayer, install_lean_layers, install_needed_rows
from clients.writing import Writer, check_fits, token_ids
from fl.adapter import A_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec
from fl.base_model import BaseModel, base_folder, read_base
from fl.errors import BaseModelError
from fl.settings import Settings

_ADAPTER = "default"  # PEFT's name for the one adapter there is


class EdgeModel:
    """A base model with one LoRA adapter, of whatever rank; `edge_model` makes it.

    One thread at a time, and one learner: who sets an adapter works with it until the next is set.
    """

    def __init__(self, base: BaseModel, spec: AdapterSpec) -> None:
        self.base = base
        self.spec = spec  # all adapters it is given have this base, these layers and this scale
        self._now = spec  # of the adapter it has
        self.tokenizer = load_tokenizer(base.folder)
        network = load_network(base.folder)
        self.end_id: int = end_id(self.tokenizer, network, base.folder)
        self.weight_bytes = sum(p.numel() * p.element_size() for p in network.parameters())
        own = twin(network)  # the writer's: PEFT changes modules in place
        peft_network = _add_lora(network, spec)
        self._parameters = _lora_parameters(peft_network)
        _check_layers(self._parameters, base)
        self.gate = Gate()  # of learning, for who wants the thread in the middle of a step
        self.writer = Writer(own, self.tokenizer, end_id=self.end_id, spec=spec, layers=base.layers)
        self.positions: int = network.config.max_position_embeddings
        self.width: int = network.config.hidden_size
        self._network = network
        self._head = network.get_output_embeddings()
        self._lean_head = LeanLayer(self._head.weight, self._head.bias, self.gate)
        self._lean = install_lean_layers(network.base_model, _ADAPTER, spec.scale, self.gate)
        self._weights: Tensor | None = None  # (r,), of the directions; None counts each once
        self._last_feed_forward = install_needed_rows(network.base_model)

    # --- the adapter ---

    def set_adapter(self, adapter: Adapter, *, weights: Sequence[float] | None = None) -> None:
        """Overwrite every LoRA tensor, with another rank where the adapter has one.

        `weights`, one a direction, multiply what it adds: sum over i of weight_i s B_i A_i. Raises
        AdapterError unless base, scale, names and shapes fit.
        """
        check_fits(adapter, self.spec, self.base.layers)
        self._weights = None if weights is None else torch.tensor(weights)  # (r,)
        scale = self.spec.scale
        with torch.no_grad():
            for name, parameter in self._parameters.items():
                tensor = torch.from_numpy(np.array(adapter.tensors[name], np.float32))
                if parameter.shape == tensor.shape:
                    parameter.copy_(tensor)
                else:
                    parameter.data = tensor
                parameter.grad = None
        for lean in self._lean:
            lean.scale = scale if self._weights is None else scale * self._weights
        self._now = adapter.spec

    def adapter(self) -> Adapter:
        """A copy of the adapter as it is now."""
        tensors = {name: p.detach().numpy().copy() for name, p in self._parameters.items()}
        return Adapter(spec=self._now, tensors=tensors)

    def lora_parameters(self) -> Mapping[str, nn.Parameter]:
        """The trainable parameters by tensor name; all else is frozen."""
        return self._parameters

    # --- what learning needs ---

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a text, without marks."""
        return token_ids(self.tokenizer, text)

    def hidden(self, ids_BT: Tensor, *, rows: Tensor | None = None) -> Tensor:
        """Last hidden states (B, T, d) of right-padded ids; causality makes a mask superfluous.

        With `rows`, indices into (B * T), only those states are right and the others are cheaper.
        """
        embedded = self._network.get_input_embeddings()(ids_BT)
        self._last_feed_forward.rows = rows
        try:
            states: Tensor = self._network.base_model(
                inputs_embeds=embedded, use_cache=False
            ).last_hidden_state
        finally:
            self._last_feed_forward.rows = None
        return states

    def head(self) -> tuple[Tensor, Tensor | None]:
        """Weight (V, d) and bias of the language-model head, in bfloat16 under autocast."""
        if torch.is_autocast_enabled("cpu"):
            return self._lean_head.rounded()
        return self._lean_head.weight, self._lean_head.bias

    # --- what asking needs ---

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        between: Callable[[], object] | None = None,
    ) -> list[str]:
        """Complete every prompt with the adapter as it is now; see `Writer`."""
        adapter = self._weighted()
        lines = [self.writer.line(p, adapter, max_new_tokens=max_new_tokens) for p in prompts]
        return [written.text for written in self.writer.write(lines, between=between)]

    def _weighted(self) -> Adapter:
        """The adapter with the directions' weights in B, where it has any."""
        adapter = self.adapter()
        if self._weights is None:
            return adapter
        weights = self._weights.numpy()
        tensors = {
            name: tensor if name.endswith(A_SUFFIX) else tensor * weights
            for name, tensor in adapter.tensors.items()
        }
        return Adapter(spec=adapter.spec, tensors=tensors)


def edge_model(settings: Settings) -> EdgeModel:
    """This process's edge model for these settings, loaded at the first call and then shared."""
    _use_threads(settings.threads)
    spec = site_spec(settings, read_base(base_folder(settings, "edge"), _targets(settings)))
    with _LOADING:
        return _load(base_folder(settings, "edge"), spec)


def site_spec(settings: Settings, base: BaseModel) -> AdapterSpec:
    """What every adapter at a site has in common with the others, at rank learning.rank."""
    return AdapterSpec(
        base_model_fingerprint=base.fingerprint,
        rank=settings.learning.rank,
        alpha=settings.learning.alpha,
        target_modules=_targets(settings),
        fan_in_fan_out=base.fan_in_fan_out,
    )


def _targets(settings: Settings) -> tuple[str, ...]:
    return tuple(sorted(settings.learning.target_modules))


def base_loads() -> int:
    """How often this process has loaded a base model from disk."""
    return _load.cache_info().misses


_LOADING = threading.Lock()  # two threads that ask at once must not load twice


@lru_cache(maxsize=4)
def _load(folder: Path, spec: AdapterSpec) -> EdgeModel:
    # The spec carries the fingerprint: other weights in the same folder are another model.
    return EdgeModel(read_base(folder, spec.target_modules), spec)


def _use_threads(threads: int) -> None:
    """`threads` of the settings, unless OMP_NUM_THREADS has decided (simulation workers)."""
    if threads > 0 and not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(threads)


def _add_lora(network: Any, spec: AdapterSpec) -> Any:
    """Put one LoRA adapter into the network, in place."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=spec.rank,
        lora_alpha=spec.alpha,
        target_modules=list(spec.target_modules),
        fan_in_fan_out=spec.fan_in_fan_out,
        lora_dropout=0.0,
        bias="none",
        task_type="CAUSAL_LM",
    )
    with warnings.catch_warnings():
        # PEFT 0.21 asks transformers 5.23 for an attribute under its old name.
        warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`")
        return get_peft_model(network, config, adapter_name=_ADAPTER).eval()


def _lora_parameters(peft_network: Any) -> dict[str, nn.Parameter]:
    """Trainable parameters by their state-dict name, which carries no adapter name."""
    return {
        name.replace(f".{_ADAPTER}.", "."): parameter
        for name, parameter in peft_network.named_parameters()
        if parameter.requires_grad
    }


def _check_layers(parameters: Mapping[str, nn.Parameter], base: BaseModel) -> None:
    """PEFT must have adapted exactly the layers that the cloud will read from the same files."""
    adapted = {
        name.removeprefix(PEFT_PREFIX).removesuffix(A_SUFFIX)
        for name in parameters
        if name.endswith(A_SUFFIX)
    }
    if adapted != set(base.layers):
        odd = sorted(adapted ^ set(base.layers))
        raise BaseModelError(
            f"{base.folder}: PEFT adapts {len(adapted)} layers, its files name "
            f"{len(base.layers)}; the first that differs is {odd[0]}."
        )
