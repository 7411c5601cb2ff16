"""Puts the cloud's LoRA adapter into the weights it was made for: W += scale * B @ A."""

from typing import Any

import torch
from torch import nn

from fl.adapter import A_SUFFIX, B_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec
from fl.errors import AdapterError


def merge(network: Any, adapter: Adapter, *, fingerprint: str) -> None:
    """Add the adapter to the weights of a LlamaForCausalLM, in place.

    `fingerprint` is that of the folder the network was loaded from, unchanged since. Sums are taken
    in float32 and rounded once to what the weights are. Raises AdapterError, and then no weight has
    changed, unless the adapter was made for this base and fits every layer it names.
    """
    if adapter.spec.base_model_fingerprint != fingerprint:
        raise AdapterError(
            "The adapter was made for another base model: for fingerprint "
            f"{adapter.spec.base_model_fingerprint[:12]}..., this one has {fingerprint[:12]}...."
        )
    layers = _layers(network, adapter.spec)
    _check_names(adapter, layers)
    for name, layer in layers.items():
        _check_shapes(name, layer, adapter)
    with torch.no_grad():
        for name, layer in layers.items():
            a, b = (
                torch.tensor(adapter.tensors[tensor], device=layer.weight.device)
                for tensor in _tensor_names(name)
            )  # (r, d_in), (d_out, r)
            layer.weight.copy_(layer.weight.float() + adapter.spec.scale * (b @ a))


def _layers(network: Any, spec: AdapterSpec) -> dict[str, nn.Linear]:
    """The layers that the spec's targets name, each with a weight (d_out, d_in) of its own."""
    if spec.fan_in_fan_out:
        raise AdapterError(
            "The adapter is for layers that store W as (d_in, d_out), as GPT-2 does; a LLaMA has "
            "none. An adapter of the edge does not load into the cloud."
        )
    layers: dict[str, nn.Linear] = {}
    for name, module in network.named_modules():
        if name.rsplit(".", 1)[-1] in spec.target_modules:
            if not isinstance(module, nn.Linear):
                raise AdapterError(
                    f"The adapter's targets name {name}, a {type(module).__name__}; expected a "
                    "linear layer."
                )
            layers[name] = module
    if not layers:
        raise AdapterError(
            f"The adapter's targets {', '.join(spec.target_modules)} name no layer of this model."
        )
    names_of: dict[int, list[str]] = {}
    for name, parameter in network.named_parameters(remove_duplicate=False):
        names_of.setdefault(id(parameter), []).append(name)
    for name, layer in layers.items():
        if others := [n for n in names_of[id(layer.weight)] if n != f"{name}.weight"]:
            raise AdapterError(
                f"{name} shares its weight with {others[0]}, which would change with it. Leave it "
                "out of tuning.target_modules."
            )
    return layers


def _check_names(adapter: Adapter, layers: dict[str, nn.Linear]) -> None:
    expected = {tensor for name in layers for tensor in _tensor_names(name)}
    if odd := sorted(expected ^ adapter.tensors.keys()):
        raise AdapterError(
            f"The adapter has {len(adapter.tensors)} tensors, this model's layers "
            f"{', '.join(adapter.spec.target_modules)} take {len(expected)}; the first that "
            f"differs is {odd[0]}."
        )


def _check_shapes(name: str, layer: nn.Linear, adapter: Adapter) -> None:
    d_out, d_in = layer.weight.shape
    rank = adapter.spec.rank
    for tensor, shape in zip(_tensor_names(name), ((rank, d_in), (d_out, rank)), strict=True):
        found = adapter.tensors[tensor]
        if found.shape != shape:
            raise AdapterError(f"{tensor} must have shape {shape}, found {found.shape}.")


def _tensor_names(layer: str) -> tuple[str, str]:
    return PEFT_PREFIX + layer + A_SUFFIX, PEFT_PREFIX + layer + B_SUFFIX
