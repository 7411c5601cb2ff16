"""What the cloud asks of sites: the spec of the shared part, the plan of a round, the messages."""

from collections.abc import Mapping

from flwr.app import Message

from fl.adapter import Adapter, AdapterSpec
from fl.base_model import BaseModel
from fl.flower_records import plan_records
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
    settings: Settings, release: AdapterRelease, federation: str, *, round_number: int, steps: int
) -> RoundPlan:
    """The same plan for every site of a round; `steps` are optimiser steps at the site."""
    return RoundPlan(
        federation=federation,
        round_number=round_number,
        release_number=release.number,
        learning_rate=settings.learning.learning_rate,
        local_steps=steps,
        batch_tokens=settings.learning.batch_tokens,
        clip_norm=settings.learning.clip_norm,
        seed=settings.seed,
        deadline_s=settings.federation.deadline_s,
    )


def messages(
    kind: str, plan: RoundPlan, release: Adapter, hosts: Mapping[str, int]
) -> dict[str, Message]:
    """One message a site, to the node that hosts it."""
    return {
        site: Message(
            plan_records(plan, release, site_id=site), dst_node_id=node, message_type=kind
        )
        for site, node in hosts.items()
    }
