"""Train the adapter in place on a site's records: the inner loop of everything a site learns."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor, nn

from clients.edge_model import EdgeModel
from clients.learning.batching import EncodedRecord, TokenBatch, encode, token_batches
from clients.learning.completion_loss import completion_loss
from clients.prompts.record import PromptRecord
from fl.adapter import A_SUFFIX, Array
from fl.errors import FederationError

WARM_UP_STEPS = 4  # or a tenth of all steps, whichever is more


@dataclass(frozen=True, kw_only=True)
class Still:
    """Directions whose factor keeps every bit while the others learn."""

    a: tuple[slice, ...] = ()  # rows of A
    b: tuple[slice, ...] = ()  # columns of B


@dataclass(frozen=True, kw_only=True)
class Pull:
    """(strength / 2) |theta - toward|^2, added to the loss for some directions.

    FedProx (1812.06127) pulls to what was received, Ditto (2012.04221) a personal adapter to the
    shared one.
    """

    strength: float
    toward: Mapping[str, Array]  # by tensor name, of these directions; others are not pulled
    directions: slice


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """What a training did. Tokens are those of prompts and completions without padding."""

    loss_nats_per_token: float  # mean over all completion tokens seen, while training
    steps: int
    tokens: int
    padding_share: float  # of all tokens computed
    seconds: float


def train(
    model: EdgeModel,
    records: Sequence[PromptRecord],
    *,
    learning_rate: float,
    steps: int,
    batch_tokens: int,
    clip_norm: float,
    seed: int,
    max_tokens: int,
    bfloat16: str,
    still: Still = Still(),
    pull: Pull | None = None,
    optimizer: str = "adamw",
    encoded: Sequence[EncodedRecord] | None = None,
    batches: Iterator[TokenBatch] | None = None,
    dropout: float = 0.0,
    on_step: Callable[[int, float], None] | None = None,
) -> TrainingResult:
    """Take `steps` steps on the completions of `records`, with a new optimiser: adamw or sgd.

    `encoded` are the records as `encode` gives them, where that was done before; `dropout` is a
    share of their prompts' tokens; `batches` are taken instead of theirs. `still` are the
    directions that do not move.
    `on_step(step, loss)` is told each step's loss in nats per token; it may use the model if it
    leaves the adapter as it was, bit for bit. The same adapter, records and arguments give the same
    bytes (at the same number of threads), whatever happens between the steps and, at the model's
    gate, in the middle of them. Raises FederationError where the adapter or a loss is no number any
    more.
    """
    started = time.perf_counter()
    if batches is None:
        if encoded is None:
            encoded = [encode(model, record, max_tokens=max_tokens) for record in records]
        batches = token_batches(encoded, batch_tokens=batch_tokens, seed=seed, dropout=dropout)
    parameters = model.lora_parameters()
    optimiser = _OPTIMIZERS[optimizer](list(parameters.values()), learning_rate)
    rounded = use_bfloat16(bfloat16)
    nats, targets, tokens, computed = 0.0, 0, 0, 0
    for step, batch in enumerate(islice(batches, steps), start=1):
        for group in optimiser.param_groups:
            group["lr"] = learning_rate * rate_factor(step, steps)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=rounded):
            loss = batch_loss(model, batch)
        loss.backward()  # type: ignore[no-untyped-call]
        if pull is not None:
            _add_pull(parameters, pull)
        _hold(parameters, still)
        nn.utils.clip_grad_norm_(parameters.values(), clip_norm)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        if not math.isfinite(step_loss := loss.item()):
            raise _diverged(step, learning_rate)
        nats += step_loss * len(batch.targets)
        targets += len(batch.targets)
        tokens += batch.tokens
        computed += batch.ids.numel()
        if on_step is not None:
            on_step(step, step_loss)
    if not all(torch.isfinite(parameter).all() for parameter in parameters.values()):
        raise _diverged(steps, learning_rate)
    return TrainingResult(
        loss_nats_per_token=nats / targets,
        steps=steps,
        tokens=tokens,
        padding_share=1.0 - tokens / computed,
        seconds=time.perf_counter() - started,
    )


def _adamw(parameters: list[Tensor], learning_rate: float) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.0, fused=True)


def _sgd(parameters: list[Tensor], learning_rate: float) -> torch.optim.Optimizer:
    """Without momentum: one step hands over learning_rate times the gradient (FedSGD)."""
    return torch.optim.SGD(parameters, lr=learning_rate)


_OPTIMIZERS = {"adamw": _adamw, "sgd": _sgd}


def _diverged(step: int, learning_rate: float) -> FederationError:
    return FederationError(
        f"Training diverged in step {step}: the loss or the adapter is no number any more. Nothing "
        f"of it was kept; lower learning.learning_rate, which is {learning_rate:g}."
    )


def rate_factor(step: int, steps: int) -> float:
    """Share of the learning rate in step 1, 2, ...: a short linear warm-up, then all of it."""
    return min(1.0, step / max(WARM_UP_STEPS, steps // 10))


def batch_loss(model: EdgeModel, batch: TokenBatch) -> Tensor:
    """Mean loss of the batch's completion tokens: the body once, the head on their rows only."""
    hidden = model.hidden(batch.ids, rows=batch.sources).flatten(0, 1)  # (B*T, d)
    weight, bias = model.head()
    return completion_loss(hidden[batch.sources], weight, bias, batch.targets, gate=model.gate)


def use_bfloat16(choice: str) -> bool:
    """Whether products are taken in bfloat16: on, off, or auto = where the CPU has units for it."""
    if choice != "auto":
        return choice == "on"
    found = torch.cpu.get_capabilities()
    return bool(found.get("avx512_bf16") or found.get("amx_bf16"))


def _add_pull(parameters: Mapping[str, nn.Parameter], pull: Pull) -> None:
    """Add strength * (theta - toward) to the gradients."""
    for name, parameter in parameters.items():
        if parameter.grad is not None and name in pull.toward:
            toward = torch.from_numpy(pull.toward[name])
            # A is (r, d_in), B is (d_out, r)
            place = (pull.directions,) if name.endswith(A_SUFFIX) else (..., pull.directions)
            away = parameter.detach()[place] - toward
            parameter.grad[place].add_(away, alpha=pull.strength)


def _hold(parameters: Mapping[str, nn.Parameter], still: Still) -> None:
    """Zero the gradients of what must not move; without weight decay Adam then moves it by 0."""
    for name, parameter in parameters.items():
        if parameter.grad is not None:
            rows = name.endswith(A_SUFFIX)  # A is (r, d_in), B is (d_out, r)
            for part in still.a if rows else still.b:
                (parameter.grad[part] if rows else parameter.grad[:, part]).zero_()
