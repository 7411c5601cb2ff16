"""The study of trends as one picture: gains on persistence and on the commonest direction."""

import io
from collections.abc import Callable
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clients.insight.trends.results import CENTRAL, FEDERATED, SeriesResult, TrendStudy
from clients.insight.trends.yardsticks import AR, PERSISTENCE, SEASONAL

# Okabe and Ito's, as everywhere here
COLOURS = {SEASONAL: "#999999", AR: "#56B4E9", CENTRAL: "#0072B2", FEDERATED: "#D55E00"}
Value = Callable[[SeriesResult, str], float]


def picture(found: TrendStudy) -> bytes:
    """PNG bytes, the same for the same findings. Bars to the right are wins."""
    figure = Figure(figsize=(11, 1.6 + 0.42 * len(found.series)), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    _bars(left, found, lambda one, arm: _gain(one, arm))
    left.set_title("sMAPE: % less than persistence", fontsize=10)
    _bars(right, found, lambda one, arm: 100 * (one.scores[arm].direction - one.commonest))
    right.set_title("direction: points above the commonest one", fontsize=10)
    left.set_yticks(range(len(found.series)), [one.name for one in found.series], fontsize=9)
    left.invert_yaxis()
    left.set_xlim(left=max(left.get_xlim()[0], -60))  # a naive guess may be many times worse
    right.legend(fontsize=8, loc="lower right", frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _gain(one: SeriesResult, arm: str) -> float:
    return 100 * (1 - one.scores[arm].smape / max(one.scores[PERSISTENCE].smape, 1e-9))


def _bars(axes: Any, found: TrendStudy, value: Value) -> None:
    height = 0.8 / len(COLOURS)
    for place, (arm, colour) in enumerate(COLOURS.items()):
        at = [i + (place - (len(COLOURS) - 1) / 2) * height for i in range(len(found.series))]
        axes.barh(at, [value(one, arm) for one in found.series], height, color=colour, label=arm)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
