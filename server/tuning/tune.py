"""LoRA of the cloud's LLaMA with PEFT: the base stays frozen, an Adapter comes out.

Letters: B pairs of a batch, T tokens, N completion tokens, V vocabulary.
"""

import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.utils import logging

from fl.adapter import A_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec, initial_adapter
from fl.base_model import BaseModel
from fl.errors import AdapterError, BaseModelError
from fl.processor import has_bfloat16
from fl.settings import Settings, TuningSettings
from server.foundation.tokenizer import TokenPair
from server.generation.adapter_merge import merge
from server.generation.loading import load_transformers
from server.tuning.corpus import TuningCorpus
from server.tuning.heldout import completion_logits, heldout_loss
from server.tuning.token_batches import encode, endless_batches

WARM_UP_STEPS = 4  # or a tenth of all steps, whichever is more
CLIP_NORM = 1.0  # of the gradient
PROBES = 8  # held-out pairs on which merged and unmerged logits are compared
_ADAPTER = "default"  # PEFT's name for the one adapter there is


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A new adapter and what was measured. Losses in nats per completion token."""

    adapter: Adapter
    base_loss: float  # held out, of the base alone
    loss: float  # held out, with the adapter merged as it is served
    train_loss: float  # mean of the last tenth of the steps
    merged_difference: float  # largest |merged - unmerged| logit on the probes


def spec_for(base: BaseModel, tuning: TuningSettings) -> AdapterSpec:
    """The spec of the adapters that these settings make for this base."""
    return AdapterSpec(
        base_model_fingerprint=base.fingerprint,
        rank=tuning.rank,
        alpha=tuning.alpha,
        target_modules=tuple(sorted(tuning.target_modules)),
        fan_in_fan_out=base.fan_in_fan_out,
    )


def prepare(settings: Settings) -> None:
    """Use the settings' threads, and keep transformers to itself."""
    if settings.threads and not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(settings.threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def loss_with(base: BaseModel, adapter: Adapter, corpus: TuningCorpus, settings: Settings) -> float:
    """Held-out loss of the base with this adapter merged, nats per completion token.

    Raises AdapterError where the adapter does not belong to the base.
    """
    network, tokenizer = load_transformers(base.folder)
    merge(network, adapter, fingerprint=base.fingerprint)
    return heldout_loss(
        network, encode(tokenizer, corpus.heldout, longest=_longest(network, settings))
    )


def tune(
    base: BaseModel,
    corpus: TuningCorpus,
    settings: Settings,
    *,
    on_step: Callable[[int, float], None],
) -> Tuned:
    """Train a new adapter, from nothing, on the corpus; `on_step(step, loss)` is told each step.

    The same settings and base give the same bytes (at the same number of threads). Raises
    AdapterError where the training diverged.
    """
    tuning = settings.tuning
    # 1. The base, and what it loses on what it has not seen.
    network, tokenizer = load_transformers(base.folder)
    longest = _longest(network, settings)
    train, heldout = (encode(tokenizer, p, longest=longest) for p in (corpus.train, corpus.heldout))
    base_loss = heldout_loss(network, heldout)
    # 2. An adapter that changes nothing yet, and its training.
    spec = spec_for(base, tuning)
    peft_network = _add_lora(network, spec)
    parameters = _lora_parameters(peft_network)
    _check_layers(parameters, base)
    _set(parameters, initial_adapter(spec, base.layers, seed=settings.seed))
    losses = _train(network, parameters, train, tuning, seed=settings.seed, on_step=on_step)
    tensors = {name: p.detach().cpu().numpy().copy() for name, p in parameters.items()}
    adapter = Adapter(spec=spec, tensors=tensors)
    # 3. What is served is W + scale * B @ A: is it what was trained?
    probes = heldout[:PROBES]
    unmerged = _exact_logits(network, probes)
    network = peft_network.unload()
    merge(network, adapter, fingerprint=base.fingerprint)
    merged = _exact_logits(network, probes)
    apart = max(float((m - u).abs().max()) for m, u in zip(merged, unmerged, strict=True))
    loss = heldout_loss(network, heldout)
    if not (math.isfinite(loss) and math.isfinite(apart)):
        raise AdapterError(
            f"The tuning diverged: its held-out loss is {loss}. Lower tuning.learning_rate "
            f"({tuning.learning_rate:g})."
        )
    last = losses[-max(1, len(losses) // 10) :]
    return Tuned(
        adapter=adapter,
        base_loss=base_loss,
        loss=loss,
        train_loss=sum(last) / len(last),
        merged_difference=apart,
    )


def _train(
    network: Any,
    parameters: Mapping[str, nn.Parameter],
    pairs: Sequence[TokenPair],
    tuning: TuningSettings,
    *,
    seed: int,
    on_step: Callable[[int, float], None],
) -> list[float]:
    """tuning.steps steps of AdamW on completions alone; the loss of each."""
    optimiser = torch.optim.AdamW(parameters.values(), lr=tuning.learning_rate, weight_decay=0.0)
    batches = endless_batches(pairs, batch_tokens=tuning.batch_tokens, seed=seed)
    device = network.device.type
    rounded = has_bfloat16() if device == "cpu" else torch.cuda.is_bf16_supported()
    losses: list[float] = []
    network.train()
    for step, batch in enumerate(islice(batches, tuning.steps), start=1):
        for group in optimiser.param_groups:
            group["lr"] = tuning.learning_rate * rate_factor(step, tuning.steps)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=rounded):
            logits_NV = completion_logits(network, batch)
        loss = F.cross_entropy(logits_NV.float(), batch.targets_N.to(device))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters.values(), CLIP_NORM)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(loss.item())
        on_step(step, losses[-1])
    network.eval()
    return losses


def rate_factor(step: int, steps: int) -> float:
    """Share of the learning rate in step 1, 2, ...: a short warm-up, then a straight line to 0."""
    warmed = step / max(WARM_UP_STEPS, steps // 10)
    return min(1.0, warmed, (steps - step + 1) / steps)


def _exact_logits(network: Any, pairs: Sequence[TokenPair]) -> list[Tensor]:
    """Logits (T, V) of each pair at every position, computed in float64 from the float32 weights.

    In float32 the rounding of a forward pass alone comes near to 1e-4 (measured: 4e-5 on a small
    trained model), and would hide what merging itself does.
    """
    network.double()
    with torch.inference_mode():
        ids = [torch.tensor([p.prompt + p.completion], device=network.device) for p in pairs]
        logits = [network(input_ids=ids_1T, use_cache=False).logits[0] for ids_1T in ids]
    network.float()  # back to the very same weights
    return logits


def _longest(network: Any, settings: Settings) -> int:
    return min(int(network.config.max_position_embeddings), settings.tuning.batch_tokens)


def _add_lora(network: Any, spec: AdapterSpec) -> Any:
    """Put one LoRA adapter into the network, in place; only its parameters can learn."""
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
        return get_peft_model(network, config, adapter_name=_ADAPTER)


def _lora_parameters(peft_network: Any) -> dict[str, nn.Parameter]:
    """Trainable parameters by their state-dict name, which carries no adapter name."""
    return {
        name.replace(f".{_ADAPTER}.", "."): parameter
        for name, parameter in peft_network.named_parameters()
        if parameter.requires_grad
    }


def _check_layers(parameters: Mapping[str, nn.Parameter], base: BaseModel) -> None:
    """PEFT must have adapted exactly the layers that the files name."""
    adapted = {
        name.removeprefix(PEFT_PREFIX).removesuffix(A_SUFFIX)
        for name in parameters
        if name.endswith(A_SUFFIX)
    }
    if odd := sorted(adapted ^ set(base.layers)):
        raise BaseModelError(
            f"{base.folder}: PEFT adapts {len(adapted)} layers, its files name "
            f"{len(base.layers)}; the first that differs is {odd[0]}."
        )


def _set(parameters: Mapping[str, nn.Parameter], adapter: Adapter) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(torch.from_numpy(adapter.tensors[name]))
