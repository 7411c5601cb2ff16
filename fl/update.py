"""What a site sends back after a round: a delta of the shared part, and public numbers about it."""

from dataclasses import dataclass

from fl.adapter import Adapter
from fl.release import Judgement


@dataclass(frozen=True, kw_only=True)
class AdapterUpdate:
    """Trained minus received, for the shared part only. Losses in nats per completion token."""

    site_id: str
    round_number: int
    based_on_release: int
    delta: Adapter
    num_examples: int  # records the site trained on, its weight in the mean
    train_loss: float
    heldout_loss: float  # of shared + personal, after training, on the site's held-out records
    seconds: float  # spent at the site on this contribution
    judgement: Judgement | None = None  # where the site started from a candidate and could compare
