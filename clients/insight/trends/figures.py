"""A series and its forecast as one picture."""

import io
from collections.abc import Sequence
from typing import Any

from matplotlib import dates as untyped_dates
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from clients.insight.forecast import Forecast
from clients.insight.trends.series import CountSeries

dates: Any = untyped_dates
PAST = 72  # steps of the past that are shown
HISTORY_COLOUR, FORECAST_COLOUR = "#0072B2", "#D55E00"  # Okabe and Ito's, as everywhere here


def picture(
    series: CountSeries, forecasts: Sequence[Forecast], *, title: str, coverage: float
) -> bytes:
    """PNG bytes: history, forecast, interval."""
    figure = Figure(figsize=(10, 4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    past = series.counts[-PAST:]
    before = [dates.date2num(series.time(i)) for i in range(1 - len(past), 1)]
    # The forecast starts at the last count, so that the line has no hole.
    after = [dates.date2num(series.time(i)) for i in range(len(forecasts) + 1)]
    last = past[-1]
    axes.plot(before, past, color=HISTORY_COLOUR, lw=1.4, label="history")
    axes.fill_between(
        after,
        [last, *(one.low for one in forecasts)],
        [last, *(one.high for one in forecasts)],
        color=FORECAST_COLOUR,
        alpha=0.2,
        lw=0,
        label=f"{coverage:.0%} interval",
    )
    values = [last, *(one.value for one in forecasts)]
    axes.plot(after, values, color=FORECAST_COLOUR, lw=1.4, marker="o", ms=3, label="forecast")
    axes.axvline(before[-1], color="#888888", lw=0.8, ls=":")
    axes.set_ylim(bottom=0)
    axes.set_ylabel("count of a step")
    axes.set_title(title, fontsize=10)
    locator = dates.AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=9, frameon=False, loc="upper left")
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()
