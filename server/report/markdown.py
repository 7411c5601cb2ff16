"""A federation's rounds as Markdown. All of it is public: ids and numbers, no text of a site."""

import math
from collections.abc import Sequence

from fl.markdown_table import table
from fl.rounds import RoundReport, SiteOutcome
from server.federation.report import reasons
from server.federation.round_log import RunStatus

PICTURE = "round-report.png"


def summary(reports: Sequence[RoundReport], status: RunStatus | None, *, name: str) -> str:
    """One sentence or two: what was federated, how it went."""
    last, first = reports[-1], reports[0]
    ended = status.state if status else "unknown"
    said = f" ({last.exact})" if last.exact else ""
    error = _error(last.aggregation_error)
    return (
        f"Federation {name}: method {last.method}{said}, {len(last.outcomes)} sites, "
        f"{len(reports)} rounds, {ended}. Mean held-out loss {first.mean_heldout_loss:.3f} -> "
        f"{last.mean_heldout_loss:.3f} nats per token; aggregation error of the last round "
        f"{error}; {_total(reports) / 1e6:.2f} MB in all."
    )


def markdown(reports: Sequence[RoundReport], status: RunStatus | None, *, name: str) -> str:
    """The whole report; the picture lies beside it."""
    parts = [
        f"# Round report: federation {name}",
        summary(reports, status, name=name),
        f"![Losses, bytes, error, cosines, norms and seconds of every round]({PICTURE})",
        "## By round\n\n" + _rounds(reports),
        "## By site\n\n" + _sites(reports),
    ]
    if notes := _notes(reports):
        parts.append("## What happened on the way\n\n" + "\n".join(f"- {note}" for note in notes))
    parts.append(
        "Loss: nats per held-out completion token, at the sites, after their local steps. Error: "
        "Frobenius norm of what the combined release misses of the weighted sum of the sites' "
        "products, relative to that sum, before a server optimiser changes it. Effective rank: "
        "singular values above 1 % of the largest, mean over layers. Bytes: serialised messages."
    )
    return "\n\n".join(parts) + "\n"


def _rounds(reports: Sequence[RoundReport]) -> str:
    header = [
        *("round", "sites", "loss", "worst site", "error", "rank", "effective rank"),
        *("kB up", "kB down", "training s", "transport s", "aggregation s"),
    ]
    rows = []
    for report in reports:
        inside = [o for o in report.outcomes if o.admitted]
        worst = max(inside, key=lambda o: o.heldout_loss)
        telemetry = report.telemetry
        rows.append(
            [
                str(report.round_number),
                f"{len(inside)}/{len(report.outcomes)}",
                f"{report.mean_heldout_loss:.3f}",
                f"{worst.site_id} {worst.heldout_loss:.3f}",
                _error(report.aggregation_error),
                str(report.shared_rank or "-"),
                f"{telemetry.effective_rank:.1f}" if telemetry else "-",
                f"{_up(report) / 1000:,.0f}",
                f"{_down(report) / 1000:,.0f}",
                f"{report.training_seconds:.1f}",
                f"{report.transport_seconds:.1f}",
                f"{report.aggregation_seconds:.2f}",
            ]
        )
    return table(header, rows)


def _sites(reports: Sequence[RoundReport]) -> str:
    header = [
        *("site", "prompts", "rank", "loss, first -> last", "norm of the last update"),
        *("mean cosine", "kB up", "kB down", "rounds in"),
    ]
    rows = []
    for site in sorted({o.site_id for report in reports for o in report.outcomes}):
        mine = [o for report in reports for o in report.outcomes if o.site_id == site]
        inside = [o for o in mine if o.admitted]
        rows.append(
            [
                site,
                str(inside[-1].num_examples) if inside else "-",
                str(inside[-1].rank or "-") if inside else "-",
                _losses(inside),
                _number(_norm(reports[-1], site)),
                _number(mean_cosine(reports[-1], site)),
                f"{sum(o.bytes_up for o in mine) / 1000:,.0f}",
                f"{sum(o.bytes_down for o in mine) / 1000:,.0f}",
                f"{len(inside)}/{len(reports)}",
            ]
        )
    return table(header, rows)


def _notes(reports: Sequence[RoundReport]) -> list[str]:
    """Refusals, robust drops, candidates kept back, repeated rounds."""
    notes = []
    for report in reports:
        where = f"round {report.round_number}"
        if left_out := reasons(report.outcomes):
            notes.append(f"{where}: left out {left_out}")
        notes += [f"{where}: {o.site_id} {o.dropped}" for o in report.outcomes if o.dropped]
        if report.verdict is not None and not report.verdict.passed:
            notes.append(f"{where}: {report.verdict.reason}")
        if report.attempt > 1:
            notes.append(f"{where}: made at attempt {report.attempt}")
    return notes


def mean_cosine(report: RoundReport, site: str) -> float:
    """Of a site's update with the others of the round; nan where it was not measured."""
    told = report.telemetry
    if told is None or site not in told.sites or len(told.sites) < 2:
        return math.nan
    row = told.cosines[told.sites.index(site)]
    return (sum(row) - 1.0) / (len(row) - 1)


def _up(report: RoundReport) -> int:
    return sum(o.bytes_up for o in report.outcomes)


def _down(report: RoundReport) -> int:
    return sum(o.bytes_down for o in report.outcomes)


def _total(reports: Sequence[RoundReport]) -> int:
    return sum(_up(report) + _down(report) for report in reports)


def _norm(report: RoundReport, site: str) -> float:
    return report.telemetry.norms.get(site, math.nan) if report.telemetry else math.nan


def _losses(inside: Sequence[SiteOutcome]) -> str:
    if not inside:
        return "-"
    return f"{inside[0].heldout_loss:.3f} -> {inside[-1].heldout_loss:.3f}"


def _error(error: float) -> str:
    if math.isnan(error):
        return "not defined"
    return "exact" if error < 1e-6 else f"{error:.4f}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3g}"
