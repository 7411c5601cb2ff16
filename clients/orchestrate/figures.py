"""What happened over time as one picture: queue, link use and misses, real and modelled."""

import io
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clients.orchestrate.results import ADMISSIONS, Orchestrated
from fl.orchestration.outcomes import Outcome, Sample

# Okabe and Ito's palette, told apart by colour-blind readers too
COLOURS = {"joint": "#0072B2", "compute": "#E69F00", "network": "#CC79A7"}
ORDER = {"joint": 4, "compute": 2, "network": 3}  # joint on top, for lines often coincide
BINS = 30  # of a trace's time, for rates


def picture(found: Orchestrated) -> bytes:
    """PNG bytes, the same for the same findings."""
    figure = Figure(figsize=(13, 10), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(3, 2, sharex="col")
    sides = (
        (f"{found.sites} sites, real processes", "s", 1.0, found.real_samples, found.real_outcomes),
        (
            f"{found.large_sites:,} sites, modelled",
            "minutes",
            60.0,
            found.large_samples,
            found.large_outcomes,
        ),
    )
    for column, (title, unit, scale, samples, outcomes) in enumerate(sides):
        _queue(panels[0][column], samples, scale)
        _links(panels[1][column], samples, scale)
        _misses(panels[2][column], outcomes, scale)
        panels[0][column].set_title(f"{title}: the first trace", fontsize=11)
        panels[2][column].set_xlabel(unit)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
    panels[0][0].legend(fontsize=9, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _queue(axes: Any, samples: dict[str, tuple[Sample, ...]], scale: float) -> None:
    for name in ADMISSIONS:
        its = samples[name]
        at = [one.at / scale for one in its]
        axes.plot(
            at,
            [one.at_workers for one in its],
            label=name,
            color=COLOURS[name],
            lw=1,
            zorder=ORDER[name],
        )
    down = [one.at / scale for one in samples["joint"] if one.workers_up < _most_up(samples)]
    if down:
        axes.axvspan(min(down), max(down), color="#bbbbbb", alpha=0.5, label="a worker is away")
    axes.set_ylabel("requests at the workers")


def _links(axes: Any, samples: dict[str, tuple[Sample, ...]], scale: float) -> None:
    for name in ADMISSIONS:
        its = samples[name]
        step = max(1, len(its) // BINS)
        marks = its[::step]
        rates = [
            (after.bytes_up + after.bytes_down - before.bytes_up - before.bytes_down)
            / (after.at - before.at)
            / 1000
            for before, after in pairwise(marks)
        ]
        axes.plot(
            [one.at / scale for one in marks[1:]],
            rates,
            color=COLOURS[name],
            lw=1,
            zorder=ORDER[name],
        )
    axes.set_ylabel("kB/s over all links")


def _misses(axes: Any, outcomes: dict[str, tuple[Outcome, ...]], scale: float) -> None:
    for name in ADMISSIONS:
        its = outcomes[name]
        at, shares = _rates(its, max(one.at for one in its))
        axes.step(
            [one / scale for one in at],
            shares,
            where="post",
            color=COLOURS[name],
            lw=1.2,
            zorder=ORDER[name],
        )
    axes.set_ylim(-0.02, 1.02)
    axes.set_ylabel("share of requests missed")


def _rates(outcomes: Sequence[Outcome], seconds: float) -> tuple[list[float], list[float]]:
    """Of each part of the time in which somebody asked: its begin, the share that missed."""
    edges = [seconds * part / BINS for part in range(BINS)]
    parts: list[list[bool]] = [[] for _ in edges]
    for one in outcomes:
        parts[bisect_right(edges, one.at) - 1].append(not one.in_time)
    asked = [(at, part) for at, part in zip(edges, parts, strict=True) if part]
    return [at for at, _ in asked], [sum(part) / len(part) for _, part in asked]


def _most_up(samples: dict[str, tuple[Sample, ...]]) -> int:
    return max(one.workers_up for its in samples.values() for one in its)
