"""Training a small base model on (prompt, completion) pairs, completion tokens only.

Shape letters: B records of a batch, T tokens, D width, N completion tokens of the batch.
"""

import random
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel

from fl.settings import ShapeSettings
from server.foundation.token_batch import side_by_side
from server.foundation.tokenizer import TokenPair

WARM_UP = 30  # steps
ADAMW_SHARE = 0.3  # of the learning rate, for everything that is not a matrix of a layer
DECAY_FROM = 0.7  # share of the steps after which the learning rate falls to 2 %


def pretrain(
    model: PreTrainedModel,
    pairs: Sequence[TokenPair],
    shape: ShapeSettings,
    *,
    seed: int,
    bfloat16: bool,
    on_step: Callable[[int, float], None],
) -> float:
    """Train for shape.steps steps; return the mean loss of the last fifty, nats a token.

    Matrices inside the layers learn by Muon, everything else by AdamW: at this size Muon reaches
    a loss in about a third of the steps.
    """
    body = model.base_model
    muon, adamw = _optimizers(model, shape.learning_rate)
    peaks = [(o, g, g["lr"]) for o in (muon, adamw) for g in o.param_groups]
    losses: list[float] = []
    model.train()
    for step, batch in zip(
        range(1, shape.steps + 1), _batches(pairs, shape.batch_tokens, seed), strict=False
    ):
        for _, group, peak in peaks:
            group["lr"] = peak * _schedule(step, shape.steps)
        tokens = side_by_side(batch)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bfloat16):
            states_BTD = body(input_ids=tokens.ids_BT).last_hidden_state
            hidden_ND = states_BTD.flatten(0, 1)[tokens.where_N]
            logits_NV = model.lm_head(hidden_ND)
        loss = F.cross_entropy(logits_NV.float(), tokens.targets_N)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in (muon, adamw):
            optimizer.step()
            optimizer.zero_grad()
        losses.append(loss.item())
        on_step(step, losses[-1])
    model.eval()
    recent = losses[-50:]
    return sum(recent) / len(recent)


def _optimizers(
    model: PreTrainedModel, learning_rate: float
) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer]:
    embedding_names = ("wte", "wpe", "embed_tokens", "lm_head")
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in model.named_parameters():
        inside = parameter.ndim == 2 and not any(part in name for part in embedding_names)
        (matrices if inside else rest).append(parameter)
    return (
        torch.optim.Muon(matrices, lr=learning_rate, momentum=0.95, weight_decay=0.0),
        torch.optim.AdamW(
            rest, lr=ADAMW_SHARE * learning_rate, betas=(0.9, 0.95), weight_decay=0.0
        ),
    )


def _schedule(step: int, steps: int) -> float:
    """Warm-up, constant, then linear decay to 0.02."""
    decay = (steps - step) / (steps * (1 - DECAY_FROM))
    return min(1.0, step / WARM_UP, max(0.02, decay))


def _batches(pairs: Sequence[TokenPair], batch_tokens: int, seed: int) -> Iterator[list[TokenPair]]:
    """Endless shuffled batches of at most `batch_tokens` tokens with padding.

    Not sorted by length: lengths differ little here, and a batch of one kind of record pulls a
    young model hither and thither.
    """
    rng = random.Random(seed)
    order = list(pairs)
    batch: list[TokenPair] = []
    longest = 0
    while True:
        rng.shuffle(order)
        for pair in order:
            longest = max(longest, len(pair))
            if batch and longest * (len(batch) + 1) > batch_tokens:
                yield batch
                batch, longest = [], len(pair)
            batch.append(pair)
