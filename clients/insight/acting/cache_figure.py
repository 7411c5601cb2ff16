"""Hit rate by cache size as a picture: of all policies, and what forecasts add to a memory."""

import io
from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clients.compare.worth import Spread, spread
from clients.insight.acting.cache_table import REMEMBERING, Found, gain

# Okabe and Ito's palette, told apart by colour-blind readers too
COLOURS = ("#000000", "#E69F00", "#999999", "#0072B2", "#56B4E9", "#CC79A7", "#009E73", "#D55E00")
APART = 0.03  # share of a size by which rows that lie close stand beside each other


def picture(found: Found) -> bytes:
    """PNG bytes, the same for the same findings; bars are 95 % intervals over draws."""
    figure = Figure(figsize=(13, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    rows = [row for row in found.results if "prefetching" not in row]
    colours = dict(zip(rows, COLOURS, strict=False))
    forecasts = [row for row in rows if row.startswith("forecast")]

    def draw(
        axes: Axes, names: Sequence[str], value: Callable[[str, int], Spread], *, apart: float
    ) -> None:
        for number, row in enumerate(names):
            spreads = [value(row, size) for size in found.settings.sizes]
            aside = 1 + apart * (number - (len(names) - 1) / 2)
            axes.errorbar(
                [size * aside for size in found.settings.sizes],
                [100 * its.mean for its in spreads],
                yerr=[100 * its.half for its in spreads],
                color=colours[row],
                marker="o",
                ms=4,
                lw=1.4,
                capsize=2,
                label=row,
            )

    draw(left, rows, lambda row, size: spread(found.rates(row, size)), apart=0.0)
    left.set_ylabel("hit rate, %")
    left.set_title(f"{len(found.topics)} topics of real hourly counts, items by a Zipf law")
    right.axhline(0, color="#999999", linewidth=1)
    draw(right, forecasts, lambda row, size: gain(found, row, REMEMBERING, size), apart=APART)
    right.set_ylabel("points of hit rate")
    right.set_title(f"Forecasts beyond {REMEMBERING}; paired by draw")
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(found.settings.sizes, [str(size) for size in found.settings.sizes])
        axes.set_xlabel("entries")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.legend(fontsize=8, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
