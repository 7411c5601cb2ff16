"""The study of methods as one picture: what each arm reaches, and what it costs in bytes."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from clients.study.methods.arms import BASELINES, DRIFTS
from clients.study.methods.chosen import Chosen, chosen_arms, worst
from clients.study.methods.results import Run

# Okabe and Ito's palette, told apart by colour-blind readers too, and two for the dashed lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999")
DASHED = ("#6A3D9A", "#8B4513")
MARKERS = "os^Dv<>pXh"


def picture(runs: Sequence[Run]) -> bytes:
    """PNG bytes, the same for the same runs."""
    drifts = [d for d in DRIFTS if any(a.arm not in BASELINES for a in chosen_arms(runs, d))]
    drifts = drifts or [DRIFTS[0]]
    figure = Figure(figsize=(13, 4.6 * len(drifts)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(len(drifts), 2, squeeze=False, width_ratios=(1, 1.25))
    for row, drift in zip(panels, drifts, strict=True):
        arms = chosen_arms(runs, drift)
        _dots(row[0], arms, drift)
        _curves(row[1], arms, drift)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _dots(axes: Any, arms: Sequence[Chosen], drift: str) -> None:
    """NLL at the end: a dot for the mean over sites with the spread over seeds, a tick for the
    worst site."""
    ordered = sorted(arms, key=lambda arm: arm.mean(lambda run: run.mean_nll) or 0.0)
    places = range(len(ordered))
    means = [arm.mean(lambda run: run.mean_nll) or 0.0 for arm in ordered]
    spreads = [arm.spread(lambda run: run.mean_nll) for arm in ordered]
    for place, arm in enumerate(ordered):
        colour = "#777777" if arm.arm in BASELINES else COLOURS[0]
        axes.errorbar(means[place], place, xerr=spreads[place], fmt="o", color=colour, capsize=3)
        axes.plot(arm.mean(worst) or 0.0, place, "|", color=colour, markersize=9)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_yticks(places, [arm.arm for arm in ordered], fontsize=8)
    axes.invert_yaxis()
    axes.set_title(
        f"{drift} drift: held-out NLL, nats per token (tick: worst site; grey: no federation)",
        fontsize=10,
    )
    axes.spines[["top", "right"]].set_visible(False)


def _curves(axes: Any, arms: Sequence[Chosen], drift: str) -> None:
    """NLL after each round against the bytes spent, first seed."""
    federated = [arm for arm in arms if arm.arm not in BASELINES]
    if not federated:
        axes.set_axis_off()
        return
    for place, arm in enumerate(federated):
        run, spent, points = arm.runs[0], 0.0, []
        for point in run.rounds:
            spent += (point.bytes_up + point.bytes_down) / len(run.sites) / 1e6
            points.append((spent, sum(point.nll.values()) / len(point.nll)))
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            marker=MARKERS[place % len(MARKERS)],
            markersize=4,
            linewidth=1.2,
            color=(COLOURS + DASHED)[place % (len(COLOURS) + len(DASHED))],
            linestyle="-" if place < len(COLOURS) else "--",
            label=arm.arm,
        )
    for arm in arms:
        if arm.arm in BASELINES[1:]:
            level = arm.mean(lambda run: run.mean_nll) or 0.0
            axes.axhline(level, color="#999999", linewidth=0.8, linestyle=":")
            axes.text(
                1.0,
                level,
                arm.arm,
                fontsize=7,
                color="#555555",
                ha="right",
                va="bottom",
                transform=axes.get_yaxis_transform(),
            )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("MB up and down, one site, all rounds so far", fontsize=8)
    said = "NLL against bytes, first seed; upright at the end: settling"
    axes.set_title(f"{drift} drift: {said}", fontsize=10)
    axes.legend(fontsize=7, ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
