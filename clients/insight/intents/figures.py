"""The study of intents as one picture: accuracy, slots and out-of-scope recall of every arm."""

import io
from collections.abc import Callable, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clients.insight.intents.results import SetResult
from clients.insight.intents.scores import Score

COLOURS = ("#999999", "#56B4E9", "#0072B2", "#D55E00")  # Okabe and Ito's, as everywhere here
_PANELS: tuple[tuple[str, Callable[[Score], float | None]], ...] = (
    ("accuracy in scope", lambda score: score.accuracy),
    ("slot F1", lambda score: score.slot_f1),
    ("recall of out of scope", lambda score: score.oos_recall),
)


def picture(results: Sequence[SetResult]) -> bytes:
    """PNG bytes, the same for the same results. What an arm has not got is left out."""
    figure = Figure(figsize=(12, 3.6), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(_PANELS), sharey=True)
    for axes, (title, value) in zip(panels, _PANELS, strict=True):
        bars(axes, results, value)
        axes.set_title(title, fontsize=10)
    panels[0].legend(fontsize=8, loc="lower left")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def bars(axes: Any, results: Sequence[SetResult], value: Callable[[Score], float | None]) -> None:
    """Draw a group of bars a data set; no bar for None, which is no zero."""
    arms = list(results[0].scores)
    width = 0.8 / len(arms)
    for place, arm in enumerate(arms):
        scores = [result.scores[arm] for result in results]
        found = {i: value(score) for i, score in enumerate(scores) if score is not None}
        known = {i: height for i, height in found.items() if height is not None}
        left = [i + (place - (len(arms) - 1) / 2) * width for i in known]
        axes.bar(left, list(known.values()), width, color=COLOURS[place], label=arm)
    axes.set_xticks(range(len(results)), [result.name for result in results], fontsize=9)
    axes.set_ylim(0, 1)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
