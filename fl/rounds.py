"""A round from the cloud's side: the plan it sends, what became of each site, the report."""

from dataclasses import dataclass

from fl.aggregation.telemetry import Telemetry
from fl.release import Verdict
from fl.tasks import COMPLETE

OPTIMIZERS = ("adamw", "sgd")  # of a site's steps


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """What every site is asked to do in a round."""

    federation: str  # which federation of this run folder, for instance "001"
    round_number: int  # 1, 2, ...
    release_number: int  # the release the site starts from
    current_release: int  # the release in use; another one than it starts from is to be judged
    learning_rate: float
    local_steps: int  # optimiser steps
    batch_tokens: int  # padded tokens of one batch, at the most
    clip_norm: float  # gradient norm bound
    seed: int
    deadline_s: float
    method: str  # how the updates will be combined
    rank: int  # directions that learn, at a site that can train so many
    mixed_ranks: bool  # whether a site may train fewer
    trains: str  # factors of the learning directions that move: AB, A or B
    sends: str  # factors whose change travels
    fresh: bool  # a new pair learns beside the release, which is frozen
    proximal_mu: float  # FedProx: (mu / 2) |learning - received|^2 is added to the loss
    uplink: str  # float32, float16 or int8: an update's numbers on the wire
    feedback_rounds: int  # what rounding cost is kept for so many rounds
    optimizer: str = "adamw"  # one of OPTIMIZERS, at the site
    task: str = COMPLETE  # which of a site's books and adapters this is about (fl.tasks)


@dataclass(frozen=True, kw_only=True)
class SiteOutcome:
    """What became of one site in a round; a refused update has its reason."""

    site_id: str
    admitted: bool
    reason: str  # "" when admitted
    num_examples: int
    train_loss: float  # nats per completion token
    heldout_loss: float
    update_norm: float
    bytes_down: int  # of the message to the site, serialised
    bytes_up: int  # and of its answer
    seconds: float  # at the site
    rank: int = 0  # LoRA directions it trained; 0 = not known
    dropped: str = ""  # why a robust rule left its update out or shortened it; "" = it counts whole


@dataclass(frozen=True, kw_only=True)
class LateUpdate:
    """An update that came after its round had ended."""

    site_id: str
    round_number: int  # the round it was asked for
    used: bool
    weight: float  # its share of num_examples that counted; 0 when it was not used
    reason: str  # "" when it was used


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """The public record of a round, one line of `rounds.jsonl`.

    `seconds` is the whole round; what is neither training nor aggregation is transport: roll call,
    queues, new processes, the wire.
    """

    round_number: int
    release_number: int  # the release this round made
    method: str
    outcomes: tuple[SiteOutcome, ...]
    mean_heldout_loss: float  # over admitted sites, nats per completion token
    aggregation_error: float  # relative error of the product B A the method leaves, 0 if exact
    aggregation_seconds: float
    seconds: float
    attempt: int = 1  # above 1 when the round was abandoned before
    late: tuple[LateUpdate, ...] = ()  # of rounds before, that came in during this one
    verdict: Verdict | None = None  # on the candidate this round started from
    exact: str = ""  # what the method says of itself
    shared_rank: int = 0  # of the release made
    telemetry: Telemetry | None = None

    @property
    def training_seconds(self) -> float:
        """Of the slowest admitted site; the sites work side by side."""
        return max((o.seconds for o in self.outcomes if o.admitted), default=0.0)

    @property
    def transport_seconds(self) -> float:
        """What is left of the round."""
        return max(0.0, self.seconds - self.training_seconds - self.aggregation_seconds)
