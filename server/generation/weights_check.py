"""Whether rounded weights still know what the exact ones know, on text nobody was trained on."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from fl.errors import BaseModelError
from fl.settings import Settings
from server.generation.loading import LanguageModel
from server.tuning.corpus import Pair, heldout_pairs

MOST_PAIRS = 64


def check_weights(
    settings: Settings, *, exact: LanguageModel, rounded: LanguageModel, kind: str
) -> str:
    """A line with both held-out losses. Raises BaseModelError where too much was lost."""
    pairs = heldout_pairs(settings)[:MOST_PAIRS]
    before, after = heldout_nll(exact, pairs), heldout_nll(rounded, pairs)
    bound = settings.engine.weights_tolerance
    line = (
        f"{kind} weights: held-out NLL {after:.4f} nats per token, {before:.4f} with float32 "
        f"({after - before:+.4f}, at most {bound:+g})"
    )
    if not after - before <= bound:  # also NaN
        raise BaseModelError(
            f"{line}: too much is lost. Use engine.weights=float32, or allow more with "
            "engine.weights_tolerance."
        )
    return line


def heldout_nll(model: LanguageModel, pairs: Sequence[Pair]) -> float:
    """Mean NLL of the completions in nats per token; NaN where no pair is short enough."""
    total, count = 0.0, 0
    with torch.inference_mode():
        for prompt, text in pairs:
            head, whole = model.tokens.encode(prompt), model.tokens.encode(prompt + text)
            if len(head) == len(whole) or len(whole) > model.positions:
                continue
            logits_NV = model.network.logits(whole[:-1], first=len(head) - 1)
            targets_N = torch.tensor(whole[len(head) :], device=logits_NV.device)
            total += float(F.cross_entropy(logits_NV, targets_N, reduction="sum"))
            count += len(targets_N)
    return total / count if count else math.nan
