"""What the cloud asks of sites: the spec of the shared part, and the plan of a round."""

from fl.adapter import AdapterSpec
from fl.aggregation import method, turn
from fl.base_model import BaseModel
from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from fl.settings import Settings


def shared_spec(settings: Settings, base: BaseModel) -> AdapterSpec:
    """The spec of the part that travels."""
    return AdapterSpec(
        base_model_fingerprint=base.fingerprint,
        rank=settings.learning.rank,
        alpha=settings.learning.alpha,
        target_modules=tuple(sorted(settings.learning.target_modules)),
        fan_in_fan_out=base.fan_in_fan_out,
    )


def round_plan(
    settings: Settings,
    release: AdapterRelease,
    *,
    current_release: int,
    round_number: int,
    steps: int,
) -> RoundPlan:
    """The same plan for every site of a round; `steps` are optimiser steps at the site."""
    how = method(settings.method)
    todo = turn(settings.method, round_number, release.shared)
    # Without coordinates that persist, what rounding cost in one round means nothing in the next.
    persists = not (todo.fresh or how.cuts)
    return RoundPlan(
        federation=release.federation,
        round_number=round_number,
        release_number=release.number,
        current_release=current_release,
        learning_rate=settings.learning.learning_rate,
        local_steps=steps,
        batch_tokens=settings.learning.batch_tokens,
        clip_norm=settings.learning.clip_norm,
        seed=settings.seed,
        deadline_s=settings.federation.deadline_s,
        method=settings.method,
        rank=settings.learning.rank,
        mixed_ranks=how.mixed_ranks,
        trains=todo.trains,
        sends=todo.sends,
        fresh=todo.fresh,
        proximal_mu=settings.learning.proximal_mu,
        uplink=settings.federation.uplink,
        feedback_rounds=settings.federation.feedback_rounds if persists else 0,
        task=settings.task,
    )
