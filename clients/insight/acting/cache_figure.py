"""Hit rate by cache size as a picture."""

import io

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clients.compare.worth import spread
from clients.insight.acting.cache_table import Found

# Okabe and Ito's palette, told apart by colour-blind readers too
COLOURS = ("#000000", "#E69F00", "#999999", "#0072B2", "#56B4E9", "#CC79A7", "#009E73", "#D55E00")


def picture(found: Found) -> bytes:
    """PNG bytes, the same for the same findings; bars are 95 % intervals over draws."""
    figure = Figure(figsize=(9, 5), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    rows = [row for row in found.results if "prefetching" not in row]
    for number, row in enumerate(rows):
        spreads = [spread(found.rates(row, size)) for size in found.settings.sizes]
        axes.errorbar(
            found.settings.sizes,
            [100 * its.mean for its in spreads],
            yerr=[100 * its.half for its in spreads],
            color=COLOURS[number % len(COLOURS)],
            marker="o",
            ms=4,
            lw=1.4,
            capsize=2,
            label=row,
        )
    axes.set_xscale("log", base=2)
    axes.set_xticks(found.settings.sizes, [str(size) for size in found.settings.sizes])
    axes.set_xlabel("entries")
    axes.set_ylabel("hit rate, %")
    axes.set_title(f"{len(found.topics)} topics of real hourly counts, items by a Zipf law")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.legend(fontsize=8, frameon=False)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
