"""What the cloud asks of sites: the spec of the shared part, the plan of a round, the letters."""

from collections.abc import Iterable

from fl.adapter import AdapterSpec
from fl.base_model import BaseModel
from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from fl.settings import Settings
from server.federation.exchange import Letter


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
    )


def letters(
    kind: str, plan: RoundPlan, release: AdapterRelease, sites: Iterable[str]
) -> list[Letter]:
    """One letter a site."""
    return [Letter(receiver=site, kind=kind, plan=plan, release=release) for site in sites]
