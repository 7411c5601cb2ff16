"""What a site sends back after a round: a delta of the shared part, and public numbers about it."""

from dataclasses import dataclass, field

from fl.adapter import Adapter
from fl.release import Judgement
from fl.uplink import Packed


@dataclass(frozen=True, kw_only=True)
class AdapterUpdate:
    """Trained minus received, for the shared part only. Losses in nats per completion token.

    Where the plan says `fresh` nothing was received for these directions, and `delta` is the new
    pair itself.
    """

    site_id: str
    round_number: int
    based_on_release: int
    delta: Adapter  # as the cloud sees it: of the factors that travel, in the site's own rank
    num_examples: int  # records the site trained on, its weight in the mean
    train_loss: float
    heldout_loss: float  # of shared + personal, after training, on the site's held-out records
    seconds: float  # spent at the site on this contribution
    uplink: str = "float32"  # how its numbers travel
    packed: Packed | None = field(default=None, repr=False, compare=False)  # `delta` on the wire
    judgement: Judgement | None = None  # where the site started from a candidate and could compare
