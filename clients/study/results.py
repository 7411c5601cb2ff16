"""What a study measures, as values that go to JSON and come back."""

from collections.abc import Mapping
from dataclasses import dataclass, field

# arms of every site, in the order of the tables
BASE = "base"
LOCAL = "local-only"
SHARED = "shared release"
PERSONAL = "shared + personal"
CENTRAL = "central, told the site"
TEMPLATE = "template with the place"
# held-out prompts under another card, or with another site's personal part
OTHER_CARD = "other card"
OTHER_ADAPTER = "other site's adapter"


@dataclass(frozen=True, kw_only=True)
class ArmScore:
    """One arm at one site. NLL in nats per held-out completion token; None where it has none."""

    own_nll: float | None
    own_tokens: int
    others_nll: float | None  # on held-out prompts of the other sites
    recall: Mapping[str, float]  # kind of mark -> share named in the enriched prompt
    answer_recall: Mapping[str, float] = field(default_factory=dict)  # in the cloud's answer


@dataclass(frozen=True, kw_only=True)
class SiteStudy:
    """All arms of one site, and its counterfactuals."""

    site_id: str
    train_prompts: int
    heldout_prompts: int
    arms: Mapping[str, ArmScore]
    short_answer_recall: Mapping[str, float]  # of the cloud's answer to the bare short prompt
    counterfactual: Mapping[str, Mapping[str, float]]  # case -> what is named -> share
    bytes_up: int  # adapter tensors of one round
    bytes_down: int


@dataclass(frozen=True, kw_only=True)
class SeedStudy:
    """One seed: every site, and the demo site that joined after the last round, if there is one."""

    seed: int
    federation: str
    small_book: int
    sites: tuple[SiteStudy, ...]
    late: SiteStudy | None
    seconds: float
