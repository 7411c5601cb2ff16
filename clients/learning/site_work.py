"""A message's work at a site: its parts in, its answer's parts out.

The same for a site of a simulation, whose courier calls this, and for an edge service, whose
courier comes over loopback gRPC.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.learning.contribution import contribute
from clients.learning.edge_site import EdgeSite
from clients.learning.judging import judge
from clients.learning.settling import settle
from fl.errors import FederationError, ReleaseError
from fl.flower_records import (
    CONTRIBUTE,
    JUDGE,
    SETTLE,
    delivery_records,
    judgement_records,
    read_plan,
    records_from_parts,
    records_to_parts,
    update_records,
)
from fl.release import AdapterRelease
from fl.release_file import SentRelease
from fl.rounds import RoundPlan

Parts = tuple[str, dict[str, bytes]]  # JSON, npy bytes by tensor name


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the cloud asks of a site."""

    kind: str
    site_id: str
    plan: RoundPlan
    sent: SentRelease
    run: str = ""  # Flower's, for log lines; the same work may be asked for in another run

    @property
    def steps(self) -> int:
        """Optimiser steps it takes."""
        return 0 if self.kind == JUDGE else self.plan.local_steps

    def __str__(self) -> str:
        word = {CONTRIBUTE: "train", JUDGE: "judge", SETTLE: "settle"}[self.kind]
        return f"{word} of round {self.plan.round_number}"


def read_work(kind: str, json: str, arrays: Mapping[str, bytes], *, run: str) -> Work:
    """Read a message. Raises FederationError, or UpdateRefused for bytes that are no tensors."""
    if kind not in (CONTRIBUTE, JUDGE, SETTLE):
        raise FederationError(f"A site is asked to train, judge or settle, not {kind[:40]!r}.")
    site_id, plan, sent = read_plan(records_from_parts(json, arrays))
    run = run if run.isdecimal() else ""  # it goes into a log line
    return Work(kind=kind, site_id=site_id, plan=plan, sent=sent, run=run)


def do_work(
    work: Work, open_site: Callable[[], EdgeSite], key: Ed25519PublicKey, *, use_settled: bool
) -> Parts:
    """Do it. Raises whatever goes wrong at the site.

    A release that the holder of `key` did not sign is refused before anything else happens.
    `use_settled`: the release that is settled is what people are served with from then on.
    """
    release = opened(work, key)
    edge_site = open_site()
    if work.kind == CONTRIBUTE:
        return records_to_parts(update_records(contribute(work.plan, release, edge_site)))
    if work.kind == SETTLE:
        delivery = settle(work.plan, release, edge_site, use=use_settled)
        return records_to_parts(delivery_records(delivery))
    judgement = judge(work.plan, release, edge_site)
    if judgement is None:
        raise FederationError(
            f"Site {work.site_id} has no sound copy of release {work.plan.current_release}, so it "
            f"cannot compare release {work.plan.release_number} with it."
        )
    return records_to_parts(judgement_records(work.site_id, judgement))


def opened(work: Work, key: Ed25519PublicKey) -> AdapterRelease:
    """The release, signed by the cloud and the one the plan speaks of. Raises ReleaseError."""
    release, plan = work.sent.open(key), work.plan
    planned = (plan.task, plan.federation, plan.release_number)
    if (release.task, release.federation, release.number) != planned:
        raise ReleaseError(
            f"The plan is for release {plan.federation}/{plan.release_number} of task={plan.task}, "
            f"what came is release {release.federation}/{release.number} of task={release.task}."
        )
    return release
