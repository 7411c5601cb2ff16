"""What orchestrating found as people read it: Markdown tables."""

from collections.abc import Sequence
from statistics import fmean

from clients.compare.worth import Spread, spread
from clients.orchestrate.results import (
    ADMISSIONS,
    NEAR,
    Orchestrated,
    Trial,
    fewer,
    misses,
    of,
    off,
)
from fl.markdown_table import table
from fl.orchestration.batch_server import Pace

SEES = {
    "joint": "compute and bandwidth",
    "compute": "compute; links as they were first seen",
    "network": "bandwidth; workers as if idle",
}


def markdown(found: Orchestrated) -> str:
    """All tables; ± is half the width of a 95 % confidence interval over seeds."""
    lost = sum(len(one.lost) for one in found.real)
    requests = sum(one.requests for one in found.real)
    seeds = len(of(found.real, "joint"))
    parts = [
        f"# Orchestration: {found.sites} sites for real, {found.large_sites} as a model",
        f"Every request has {found.deadline_s:g} s. {seeds} traces, each under every admission; a "
        "miss is late, given up or shed. ± is half a 95 % confidence interval over seeds.",
        "## Real processes",
        _by_admission(found.real),
        f"In the middle of every trace a worker of the cloud was killed. Of {requests} requests "
        f"{lost} were lost{_why(found.real)}: the others were answered, shed or too late.",
        _verdict(found.real),
        "## The model of the same traces",
        _calibrated(found),
        f"## {found.large_sites:,} sites, {found.large_hours:g} h a trace, as a model",
        _by_admission(found.large),
        _verdict(found.large),
        "## Where joint admission gains, and where not",
        _losing(found),
    ]
    return "\n\n".join(parts) + "\n"


def _by_admission(trials: Sequence[Trial]) -> str:
    rows = []
    for name in ADMISSIONS:
        its = of(trials, name)
        requests = sum(one.requests for one in its)
        shares = [sum(getattr(one, place) for one in its) / requests for place in PLACES]
        p50 = spread([one.p50_s for one in its])
        rows.append(
            [
                name,
                SEES[name],
                f"{requests}",
                _pm(misses(trials, name)),
                *(f"{share:.2f}" for share in shares),
                f"{p50.mean:.2f} ± {p50.half:.2f}",
            ]
        )
    return table(
        [
            "admission",
            "sees",
            "requests",
            "missed",
            "to the cloud",
            "at the site",
            "shed",
            "p50 s in time",
        ],
        rows,
    )


PLACES = ("cloud", "edge", "shed")


def _verdict(trials: Sequence[Trial]) -> str:
    if len(of(trials, "joint")) < 2:
        return "One trace says nothing of chance: orchestrate.seeds sets how many are played."
    lines = []
    for other in ADMISSIONS[1:]:
        gain = fewer(trials, other)
        lines.append(
            f"- joint {_gains(gain)} {other}-only: {gain.mean:+.3f} ± {gain.half:.3f} of all "
            "requests fewer missed, paired by trace"
        )
    return "\n".join(lines)


def _calibrated(found: Orchestrated) -> str:
    rows = []
    for name in ADMISSIONS:
        real, model = of(found.real, name), of(found.modelled, name)
        p50_off, miss_off = off(found.real, found.modelled, name)
        within = abs(p50_off) <= NEAR and abs(miss_off) <= NEAR
        rows.append(
            [
                name,
                f"{spread([one.p50_s for one in real]).mean:.2f}",
                f"{spread([one.p50_s for one in model]).mean:.2f}",
                f"{p50_off:+.0%}",
                f"{misses(found.real, name).mean:.3f}",
                f"{misses(found.modelled, name).mean:.3f}",
                f"{miss_off:+.0%}",
                "yes" if within else "no",
            ]
        )
    heads = ["p50 s", "model", "off", "missed", "model", "off", f"within {NEAR:.0%}"]
    measured = [
        f"{name}: site {_pace(one.edge)}, worker {_pace(one.worker)}, "
        f"{one.costs.enriched_tokens:.0f} tokens to enrich and {one.costs.answer_tokens:.0f} to "
        f"answer, {1000 * one.costs.overhead_s:.0f} ms besides, a killed worker back after "
        f"{one.back_s:.1f} s"
        for name, one in found.calibrations.items()
    ]
    return (
        table(["admission", *heads], rows)
        + "\n\nMeasured in each deployment; the model has joint's for all three:\n\n- "
        + "\n- ".join(measured)
    )


def _losing(found: Orchestrated) -> str:
    rows = [
        [
            f"{one.load:g}",
            f"{one.deadline_s:g}",
            *(f"{fmean(one.missed[name]):.3f}" for name in ADMISSIONS),
            f"{one.gain.mean:+.3f} ± {one.gain.half:.3f}",
            f"{_gains(one.gain)} {one.best_other}",
        ]
        for one in found.losing
    ]
    heads = ["load", "deadline s", *ADMISSIONS, "joint gains", "against the better other: joint"]
    return table(heads, rows)


def _pace(pace: Pace) -> str:

    return f"{1000 * pace.step_s:.1f} + {1000 * pace.row_s:.1f} k ms a step"


def _gains(gain: Spread) -> str:
    if gain.mean - gain.half > 0:
        return "beats"
    return "loses to" if gain.mean + gain.half < 0 else "is level with"


def _pm(one: Spread) -> str:
    return f"{one.mean:.3f} ± {one.half:.3f}"


def _why(trials: Sequence[Trial]) -> str:
    statuses = sorted({status for one in trials for status in one.lost})
    return f" ({', '.join(statuses)})" if statuses else ""
