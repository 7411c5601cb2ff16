"""How well the model, with the adapter it has now, predicts a site's held-out completions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from clients.edge_model import EdgeModel
from clients.learning.batching import encode, length_groups, pad
from clients.learning.local_training import batch_loss
from clients.prompts.record import PromptRecord
from fl.settings import LearningSettings


@dataclass(frozen=True, kw_only=True)
class Nll:
    """Negative log-likelihood of completions, end marks included."""

    nats: float  # summed
    tokens: int

    @property
    def per_token(self) -> float:
        """Nats per completion token."""
        return self.nats / self.tokens


def heldout_nll(
    model: EdgeModel,
    records: Sequence[PromptRecord],
    learning: LearningSettings,
    *,
    on_batch: Callable[[], None] | None = None,
) -> Nll:
    """Score every record's completion once, in float32 whatever training uses.

    `on_batch` is called between batches; it may use the model if it leaves the adapter as it was.
    """
    encoded = [encode(model, record, max_tokens=learning.max_tokens) for record in records]
    lengths = [len(record.ids) for record in encoded]
    nats, tokens = 0.0, 0
    for group in length_groups(lengths, batch_tokens=learning.batch_tokens):
        batch = pad([encoded[i] for i in group])
        with torch.inference_mode():
            nats += batch_loss(model, batch).item() * len(batch.targets)
        tokens += len(batch.targets)
        if on_batch is not None:
            on_batch()
    return Nll(nats=nats, tokens=tokens)
