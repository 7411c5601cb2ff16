"""A round from the cloud's side: the plan it sends, what became of each site, the report."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RoundPlan:
    """What every site is asked to do in a round."""

    federation: str  # which federation of this run folder, for instance "001"
    round_number: int  # 1, 2, ...
    release_number: int  # the release the site starts from
    learning_rate: float
    local_steps: int  # optimiser steps
    batch_tokens: int  # padded tokens of one batch, at the most
    clip_norm: float  # gradient norm bound
    seed: int
    deadline_s: float


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
    bytes_down: int  # of adapter tensors sent to the site
    bytes_up: int
    seconds: float  # at the site


@dataclass(frozen=True, kw_only=True)
class RoundReport:
    """The public record of a round, one line of `rounds.jsonl`."""

    round_number: int
    release_number: int  # the release this round made
    method: str
    outcomes: tuple[SiteOutcome, ...]
    mean_heldout_loss: float  # over admitted sites, nats per completion token
    aggregation_error: float  # relative error of the product B A the method leaves, 0 if exact
    aggregation_seconds: float
    seconds: float  # the whole round
