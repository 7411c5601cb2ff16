"""What the cloud asks of sites: the spec of the shared part, and the plan of a round."""

import math
from dataclasses import replace

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


def rate_share(settings: Settings, round_number: int) -> float:
    """Share of the learning rate in round 1, 2, ...: half a cosine from 1 to learning.final_rate.

    Where sites hold other classes each, late rounds of small steps bring most (SGDR, 1608.03983,
    section 3, without its restarts).
    """
    last, final = settings.rounds, settings.learning.final_rate
    if last < 2:
        return 1.0
    way = min(1.0, (round_number - 1) / (last - 1))
    return final + (1 - final) * (1 + math.cos(math.pi * way)) / 2


def settling_plan(
    settings: Settings, release: AdapterRelease, *, current_release: int, round_number: int
) -> RoundPlan:
    """What sites do when the last release arrives: learning.settle_steps, at the whole rate.

    The rounds' rate has fallen for the shared part's sake; the personal part is only beginning.
    """
    plan = round_plan(
        settings,
        release,
        current_release=current_release,
        round_number=round_number,
        steps=settings.learning.settle_steps,
    )
    return replace(plan, learning_rate=settings.learning.learning_rate)


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
        learning_rate=settings.learning.learning_rate * rate_share(settings, round_number),
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
        optimizer=settings.learning.optimizer,
        task=settings.task,
    )
