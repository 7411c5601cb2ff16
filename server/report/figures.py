"""The picture of a federation: six panels that a person takes in at a glance."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from fl.rounds import RoundReport

# Okabe and Ito's palette: told apart by colour-blind readers too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")
MOST_NAMED = 10  # sites with a line of their own and a name
EXACT = 1e-8  # what an exact round is drawn at, on a log axis


def picture(reports: Sequence[RoundReport], *, title: str) -> bytes:
    """PNG bytes, the same for the same reports."""
    figure = Figure(figsize=(13, 7.2), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(2, 3)
    _losses(panels[0][0], reports)
    _bytes(panels[0][1], reports)
    _errors(panels[0][2], reports)
    _cosines(figure, panels[1][0], reports)
    _norms(panels[1][1], reports)
    _seconds(panels[1][2], reports)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _losses(axes: Any, reports: Sequence[RoundReport]) -> None:
    axes.set_title("held-out loss at the sites, nats per token")
    sites = sorted({o.site_id for report in reports for o in report.outcomes})
    for place, site in enumerate(sites):
        points = [
            (report.round_number, o.heldout_loss)
            for report in reports
            for o in report.outcomes
            if o.site_id == site and o.admitted
        ]
        named = len(sites) <= MOST_NAMED
        axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            marker="o",
            markersize=3,
            linewidth=1.4 if named else 0.6,
            color=COLOURS[place % len(COLOURS)] if named else "#bbbbbb",
            linestyle="-" if place < len(COLOURS) else "--",
            label=site if named else None,
        )
    numbers = [report.round_number for report in reports]
    means = [report.mean_heldout_loss for report in reports]
    axes.plot(numbers, means, color="black", linewidth=2.4, label="mean")
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.5 * (high - low))  # room for the names
    axes.legend(fontsize=7, ncols=3, frameon=False, loc="upper right")
    _round_axis(axes, numbers)


def _bytes(axes: Any, reports: Sequence[RoundReport]) -> None:
    axes.set_title("bytes of all sites' messages, MB")
    numbers = [report.round_number for report in reports]
    up = [sum(o.bytes_up for o in r.outcomes) / 1e6 for r in reports]
    down = [sum(o.bytes_down for o in r.outcomes) / 1e6 for r in reports]
    axes.bar(numbers, up, color=COLOURS[0], label="up")
    axes.bar(numbers, down, bottom=up, color=COLOURS[5], label="down")
    axes.margins(y=0.2)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper left")
    _round_axis(axes, numbers)


def _errors(axes: Any, reports: Sequence[RoundReport]) -> None:
    axes.set_title("aggregation error, relative")
    numbers = [report.round_number for report in reports]
    errors = [report.aggregation_error for report in reports]
    if all(map(math.isnan, errors)):
        _unmeasured(axes, "not defined for this method, or not measured")
        return
    drawn = [max(error, EXACT) if not math.isnan(error) else math.nan for error in errors]
    axes.plot(numbers, drawn, marker="o", color=COLOURS[1])
    axes.set_yscale("log")
    smallest = min(error for error in drawn if not math.isnan(error))
    axes.set_ylim(smallest / 3, 2)
    axes.yaxis.set_major_formatter("{x:g}")
    if any(error <= EXACT for error in errors):
        axes.axhline(EXACT, color="#999999", linewidth=0.8, linestyle=":")
        axes.text(numbers[0], EXACT * 1.5, "exact", fontsize=8, color="#555555")
    _round_axis(axes, numbers)


def _cosines(figure: Any, axes: Any, reports: Sequence[RoundReport]) -> None:
    axes.set_title(f"cosine between updates, round {reports[-1].round_number}")
    told = reports[-1].telemetry
    if told is None or not told.sites:
        _unmeasured(axes, "not measured")
        return
    image = axes.imshow(np.array(told.cosines), vmin=-1, vmax=1, cmap="RdBu_r")
    figure.colorbar(image, ax=axes, shrink=0.8)
    size = 7 if len(told.sites) <= MOST_NAMED else 4
    places = range(len(told.sites))
    axes.set_xticks(places, told.sites, rotation=60, ha="right", fontsize=size)
    axes.set_yticks(places, told.sites, fontsize=size)
    if len(told.sites) <= MOST_NAMED:
        for i in places:
            for j in places:
                value = told.cosines[i][j]
                colour = "white" if abs(value) > 0.6 else "black"
                axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=6, color=colour)


def _norms(axes: Any, reports: Sequence[RoundReport]) -> None:
    axes.set_title(f"size of the change of all weights, round {reports[-1].round_number}")
    told = reports[-1].telemetry
    if told is None:
        _unmeasured(axes, "not measured")
        return
    sites, dropped = sorted(told.norms), {o.site_id for o in reports[-1].outcomes if o.dropped}
    colours = [COLOURS[1] if site in dropped else COLOURS[2] for site in sites]
    axes.barh(range(len(sites)), [told.norms[site] for site in sites], color=colours)
    axes.set_yticks(range(len(sites)), sites, fontsize=7 if len(sites) <= 20 else 4)
    axes.invert_yaxis()
    orange = "; orange: dropped or shortened by the robust rule" if dropped else ""
    axes.set_xlabel(f"Frobenius norm of s (B A), all layers{orange}", fontsize=8)


def _seconds(axes: Any, reports: Sequence[RoundReport]) -> None:
    axes.set_title("seconds of a round; effective rank of its release")
    numbers = [report.round_number for report in reports]
    base = np.zeros(len(reports))
    for place, (name, seconds) in enumerate(
        {
            "training": [r.training_seconds for r in reports],
            "transport": [r.transport_seconds for r in reports],
            "aggregation": [r.aggregation_seconds for r in reports],
        }.items()
    ):
        axes.bar(numbers, seconds, bottom=base, color=COLOURS[(2, 5, 1)[place]], label=name)
        base += np.array(seconds)
    axes.margins(y=0.4)
    ranks = [r.telemetry.effective_rank if r.telemetry else math.nan for r in reports]
    if not all(map(math.isnan, ranks)):
        other = axes.twinx()
        other.plot(numbers, ranks, color="black", marker="s", markersize=4, linewidth=1)
        axes.plot(
            [], [], color="black", marker="s", markersize=4, linewidth=1, label="rank (right)"
        )
        other.set_ylim(0, 1.4 * max(r for r in ranks if not math.isnan(r)) or 1)
        other.set_ylabel("effective rank", fontsize=8)
    axes.legend(fontsize=7, frameon=False, ncols=2, loc="upper left")
    _round_axis(axes, numbers)


def _round_axis(axes: Any, numbers: Sequence[int]) -> None:
    axes.set_xticks(numbers if len(numbers) <= 16 else numbers[:: len(numbers) // 8])
    axes.set_xlabel("round", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _unmeasured(axes: Any, text: str) -> None:
    axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=9, color="#777777")
    axes.set_xticks([])
    axes.set_yticks([])
