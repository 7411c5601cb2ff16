"""What became of the sites in a round, and of releases, as values and in words."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fl.rounds import LateUpdate, RoundReport, SiteOutcome
from fl.update import AdapterUpdate
from server.federation.verdicts import Verdicts
from server.releases import Releases


def admitted(update: AdapterUpdate, *, norm: float, bytes_down: int, bytes_up: int) -> SiteOutcome:
    """The outcome of a site whose update counts."""
    return SiteOutcome(
        site_id=update.site_id,
        admitted=True,
        reason="",
        num_examples=update.num_examples,
        train_loss=update.train_loss,
        heldout_loss=update.heldout_loss,
        update_norm=norm,
        bytes_down=bytes_down,
        bytes_up=bytes_up,
        seconds=update.seconds,
        rank=update.delta.spec.rank,
    )


def left_out(site_id: str, reason: str, *, bytes_down: int = 0) -> SiteOutcome:
    """The outcome of a site that is absent, failed or was refused; nothing it claimed is kept."""
    return SiteOutcome(
        site_id=site_id,
        admitted=False,
        reason=reason,
        num_examples=0,
        train_loss=math.nan,
        heldout_loss=math.nan,
        update_norm=math.nan,
        bytes_down=bytes_down,
        bytes_up=0,
        seconds=math.nan,
    )


def with_drops(
    outcomes: Iterable[SiteOutcome], dropped: Mapping[str, str]
) -> tuple[SiteOutcome, ...]:
    """The outcomes with what a robust rule did to some of them."""
    return tuple(replace(o, dropped=dropped.get(o.site_id, "")) for o in outcomes)


def describe(report: RoundReport) -> str:
    """A round in one line: who was in, how well it went, what it cost, what the gate said."""
    refused = [outcome for outcome in report.outcomes if not outcome.admitted]
    kilobytes = sum(o.bytes_down + o.bytes_up for o in report.outcomes) / 1000
    parts = [
        f"{len(report.outcomes) - len(refused)} of {len(report.outcomes)} sites, held-out loss "
        f"{report.mean_heldout_loss:.3f} nats/token, {kilobytes:,.0f} kB, {report.seconds:.1f} s "
        f"(training {report.training_seconds:.1f}, transport {report.transport_seconds:.1f}, "
        f"aggregation {report.aggregation_seconds:.1f})"
    ]
    if (verdict := report.verdict) is not None:
        passed = f"release {verdict.release_number} is current"
        parts.append(passed if verdict.passed else verdict.reason)
    if report.attempt > 1:
        parts.append(f"attempt {report.attempt}")
    if refused:
        parts.append(f"left out: {reasons(refused)}")
    if dropped := [o.site_id for o in report.outcomes if o.dropped]:
        parts.append(f"dropped or shrunk by the robust rule: {', '.join(dropped)}")
    if report.late:
        parts.append("late: " + ", ".join(map(_late, report.late)))
    return "; ".join(parts)


def reasons(outcomes: Iterable[SiteOutcome]) -> str:
    """`site (reason), ...` of the sites that were left out."""
    return ", ".join(f"{o.site_id} ({o.reason})" for o in outcomes if not o.admitted)


def kept_back(releases: Releases, verdicts: Verdicts) -> str:
    """A sentence on the releases that never became current, and why; empty where there are none."""
    reached = verdicts.all()
    why = [verdict.reason for verdict in reached if not verdict.passed]
    judged = {verdict.release_number for verdict in reached}
    unjudged = set(releases.numbers()) - judged - {0, releases.current_number()}
    why += [f"no site could judge release {number}" for number in sorted(unjudged)]
    return f"Kept, but not in use: {'; '.join(why)}." if why else ""


def _late(update: LateUpdate) -> str:
    use = f"weight {update.weight:.3g}" if update.used else update.reason
    return f"{update.site_id}'s update of round {update.round_number} ({use})"
