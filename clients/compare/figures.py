"""A comparison as one picture: waiting, worth, auto's frontier, the split's line."""

import io
import statistics
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clients.asking.modes import MODES
from clients.compare.line_fit import fit_line
from clients.compare.markdown import RATES
from clients.compare.results import Comparison
from clients.compare.worth import FIXED, frontier, link_worth

# Okabe and Ito's palette, told apart by colour-blind readers too
COLOURS = {
    "edge": "#009E73",
    "cloud": "#E69F00",
    "split": "#CC79A7",
    "synergy": "#0072B2",
    "auto": "#D55E00",
}
MARKERS = {"edge": "o", "cloud": "s", "split": "^", "synergy": "D", "auto": "*"}


def picture(found: Comparison) -> bytes:
    """PNG bytes, the same for the same comparison."""
    figure = Figure(figsize=(13, 9), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(2, 2)
    _waiting(panels[0][0], found)
    _worth(panels[0][1], found)
    _frontier(panels[1][0], found)
    _split(panels[1][1], found)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _waiting(axes: Any, found: Comparison) -> None:
    for mode in MODES:
        mids = [
            statistics.median(
                t.entry.total_seconds
                for trial in found.trials(profile).values()
                for t in trial.requests
                if t.entry.wanted == mode
            )
            for profile in found.profiles
        ]
        axes.plot(found.profiles, mids, label=mode, **_style(mode))
    axes.set_yscale("log")
    axes.set_title("seconds from the short prompt to the answer's end, median", fontsize=10)
    axes.legend(fontsize=8, frameon=False)


def _worth(axes: Any, found: Comparison) -> None:
    for mode in (*FIXED, "auto"):
        spreads = [
            link_worth(p, found.requests, found.trials(p), price=found.price).worth[mode]
            for p in found.profiles
        ]
        shift = 0.12 * (MODES.index(mode) - 2)
        places = [i + shift for i in range(len(spreads))]
        axes.errorbar(
            places,
            [s.mean for s in spreads],
            yerr=[s.half for s in spreads],
            fmt=MARKERS[mode],
            color=COLOURS[mode],
            label=mode,
            capsize=2,
        )
    axes.set_xticks(range(len(found.profiles)), found.profiles)
    axes.set_ylim(bottom=max(axes.get_ylim()[0], -0.5))  # the split over a satellite is far below
    axes.set_title(
        f"worth: complete answers less {found.price:g} a second (95 % over seeds)", fontsize=10
    )
    axes.legend(fontsize=8, frameon=False)


def _frontier(axes: Any, found: Comparison) -> None:
    points = frontier(found.requests, RATES)
    rates = [p.rate for p in points]
    auto = [p.auto.mean for p in points]
    axes.plot(rates, auto, label="auto: the most doubtful fall back", **_style("auto"))
    axes.fill_between(
        rates,
        [p.auto.mean - p.auto.half for p in points],
        [p.auto.mean + p.auto.half for p in points],
        color=COLOURS["auto"],
        alpha=0.15,
        linewidth=0,
    )
    axes.plot(rates, [p.coin.mean for p in points], "--", color="#555555", label="a coin")
    for mode, rate in (("edge", 0.0), ("synergy", 1.0), ("cloud", 1.0)):
        share = statistics.fmean(float(r.answers[mode].complete) for r in found.requests)
        axes.plot(rate, share, MARKERS[mode], color=COLOURS[mode], label=mode, markersize=9)
    axes.set_xlabel("share of the requests that the cloud answers")
    axes.set_title("share of complete answers", fontsize=10)
    axes.legend(fontsize=8, frameon=False)


def _split(axes: Any, found: Comparison) -> None:
    for profile, marker in zip(found.profiles, "os^Dv<>pXh", strict=False):
        trials = found.trials(profile).values()
        points = [(float(n), s) for trial in trials for n, s in trial.split_lengths]
        fit = fit_line(points)
        first, last = min(p[0] for p in points), max(p[0] for p in points)
        along = [first + (last - first) * i / 40 for i in range(41)]  # bent by the log axis
        (line,) = axes.plot(along, [1000 * (fit.a + fit.b * d) for d in along], linewidth=1)
        label = f"{profile}: {fit.a * 1000:.0f} + {fit.b * 1000:.1f} D"
        axes.plot(
            [p[0] for p in points],
            [1000 * p[1] for p in points],
            marker,
            color=line.get_color(),
            label=label,
            markersize=5,
        )
    axes.set_yscale("log")
    axes.set_xlabel("D, new tokens")
    axes.set_title("split: milliseconds = a + b D", fontsize=10)
    axes.set_ylim(top=axes.get_ylim()[1] * 12)  # room for the legend
    axes.legend(fontsize=8, frameon=False, loc="upper left", ncols=2)


def _style(mode: str) -> dict[str, Any]:
    return {"color": COLOURS[mode], "marker": MARKERS[mode], "linewidth": 1.2}
