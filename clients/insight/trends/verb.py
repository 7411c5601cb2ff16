"""`trend`: what is next of a series, in this process, with the site's shelf of task=trend."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from clients.edge_model import edge_model
from clients.edge_service.serving import adapter_on_shelf
from clients.insight.forecast import Forecast
from clients.insight.trends.forecasting import Forecasting
from clients.insight.trends.series import CountSeries, series_of_file, series_of_log, to_objects
from fl import durable
from fl.errors import FederationError
from fl.settings import Settings, with_task
from fl.site import Site
from fl.site_list import task_folder
from fl.tasks import TREND


def forecast_and_show(settings: Settings, site: Site, *, book: str, console: Console) -> None:
    """Print the forecasts of a file's series, or of the site's request log; write a picture.

    Raises BookError for a series that is not good, FederationError before the site has a release.
    """
    own = with_task(settings, TREND)
    if book:
        series = series_of_file(Path(book).expanduser())
    else:
        series = series_of_log(own, site, now=datetime.now(UTC))
    series.require_ahead(own.trend.horizon)
    forecasts = _forecasts(own, site, series, console)
    source = Path(book).name if book else f"requests at {site.id}"
    if series.left_out:
        console.print(f"  {series.left_out} counts before a gap are left out", highlight=False)
    console.print(_table(series, forecasts, coverage=own.trend.coverage))
    from clients.insight.trends.figures import picture  # matplotlib, when all else went well

    folder = task_folder(own, site.id)
    document = {"source": source, "site": site.id, "data": to_objects(series, forecasts)}
    durable.publish(folder / "trend.json", (json.dumps(document, indent=1) + "\n").encode())
    durable.publish(
        folder / "trend.png", picture(series, forecasts, title=source, coverage=own.trend.coverage)
    )
    console.print(f"  {folder / 'trend.png'}", highlight=False, soft_wrap=True)


def _forecasts(
    settings: Settings, site: Site, series: CountSeries, console: Console
) -> list[Forecast]:
    model = edge_model(settings)
    if (adapter := adapter_on_shelf(settings, site.id, model, console)) is None:
        raise FederationError(
            f"Site {site.id} has no release of task=trend yet. "
            "./run.sh simulate task=trend makes one."
        )
    ahead = Forecasting(model, coverage=settings.trend.coverage).ahead(
        adapter, series.counts, series.at, step=series.step
    )
    steps = settings.trend.horizon
    return list(
        track(islice(ahead, steps), "  forecasts", total=steps, console=console, transient=True)
    )


def _table(series: CountSeries, forecasts: Sequence[Forecast], *, coverage: float) -> Table:
    table = Table(box=None, pad_edge=True)
    for name, side in (
        ("step", "left"),
        ("value", "right"),
        (f"{coverage:.0%} from", "right"),
        ("to", "right"),
        ("direction", "left"),
        ("level", "left"),
    ):
        table.add_column(name, justify="right" if side == "right" else "left")
    table.add_row(f"{series.at:%a %d %b %H:%M}", f"{series.counts[-1]:,.0f}", "", "", "", "last")
    for number, one in enumerate(forecasts, start=1):
        table.add_row(
            f"{series.time(number):%a %d %b %H:%M}",
            f"{one.value:,.0f}",
            f"{one.low:,.0f}",
            f"{one.high:,.0f}",
            f"{one.direction} {one.probabilities[one.direction]:.0%}",
            one.level,
        )
    return table
