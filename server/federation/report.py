"""What became of the sites in a round, as outcomes and in words."""

import math
from collections.abc import Iterable

from fl.rounds import RoundReport, SiteOutcome
from fl.update import AdapterUpdate


def admitted(update: AdapterUpdate, *, norm: float, bytes_down: int) -> SiteOutcome:
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
        bytes_up=update.delta.num_bytes,
        seconds=update.seconds,
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


def describe(report: RoundReport) -> str:
    """A round in one line."""
    refused = [outcome for outcome in report.outcomes if not outcome.admitted]
    kilobytes = sum(o.bytes_down + o.bytes_up for o in report.outcomes) / 1000
    line = (
        f"{len(report.outcomes) - len(refused)} of {len(report.outcomes)} sites, held-out loss "
        f"{report.mean_heldout_loss:.3f} nats/token, {kilobytes:,.0f} kB, {report.seconds:.1f} s"
    )
    return f"{line}; left out: {reasons(refused)}" if refused else line


def reasons(outcomes: Iterable[SiteOutcome]) -> str:
    """`site (reason), ...` of the sites that were left out."""
    return ", ".join(f"{o.site_id} ({o.reason})" for o in outcomes if not o.admitted)
