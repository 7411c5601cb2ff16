"""The study of trends as one picture: gains on persistence and on the commonest direction.

Whiskers of the adapters: the 95 % interval over held-out windows.
"""

import io
from collections.abc import Callable
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clients.insight.trends.results import CENTRAL, FEDERATED, LEARNED, SeriesResult, TrendStudy
from clients.insight.trends.yardsticks import AR_LOG, PERSISTENCE, SEASONAL

# Okabe and Ito's, as everywhere here
COLOURS = {SEASONAL: "#999999", AR_LOG: "#56B4E9", CENTRAL: "#0072B2", FEDERATED: "#D55E00"}
Value = Callable[[SeriesResult, str], float]
Range = Callable[[SeriesResult, str], tuple[float, float]]


def picture(found: TrendStudy) -> bytes:
    """PNG bytes, the same for the same findings. Bars to the right are wins."""
    figure = Figure(figsize=(11, 1.6 + 0.42 * len(found.series)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, found, _gain, _gains)
    left.set_title("sMAPE: % less than persistence", fontsize=10)
    _bars(right, found, _told, _tolds)
    right.set_title("direction: points above the commonest one", fontsize=10)
    left.set_yticks(range(len(found.series)), [one.name for one in found.series], fontsize=9)
    left.invert_yaxis()
    left.set_xlim(left=max(left.get_xlim()[0], -60))  # a naive guess may be many times worse
    handles, names = right.get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _gain(one: SeriesResult, arm: str) -> float:
    return 100 * (1 - one.scores[arm].smape / _naive(one))


def _gains(one: SeriesResult, arm: str) -> tuple[float, float]:
    of = one.over_persistence[arm]
    return -100 * of.high / _naive(one), -100 * of.low / _naive(one)


def _naive(one: SeriesResult) -> float:
    return max(one.scores[PERSISTENCE].smape, 1e-9)


def _told(one: SeriesResult, arm: str) -> float:
    return 100 * (one.scores[arm].direction - one.commonest)


def _tolds(one: SeriesResult, arm: str) -> tuple[float, float]:
    of = one.over_commonest[arm]
    return 100 * of.low, 100 * of.high


def _bars(axes: Any, found: TrendStudy, value: Value, ends: Range) -> None:
    height = 0.8 / len(COLOURS)
    for place, (arm, colour) in enumerate(COLOURS.items()):
        at = [i + (place - (len(COLOURS) - 1) / 2) * height for i in range(len(found.series))]
        axes.barh(at, [value(one, arm) for one in found.series], height, color=colour, label=arm)
        if arm in LEARNED:
            whiskers = [ends(one, arm) for one in found.series]
            lows, highs = zip(*whiskers, strict=True)
            axes.hlines(at, lows, highs, color="black", linewidth=0.8)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
