"""`insight trends`: the edge model's forecasts of real series, measured against yardsticks.

Arms: what needs no model; the base without an adapter; one adapter trained on all series together;
one federated over sites that have one series each. Both adapters see the same number of batches at
the same falling rate, and every arm is judged on the same windows, which come after all training.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from statistics import mean, median

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from clients.edge_model import EdgeModel, edge_model
from clients.insight.forecast import Forecast
from clients.insight.trends.certainty import difference
from clients.insight.trends.data_sets import Series, read_series
from clients.insight.trends.forecasting import Forecasting
from clients.insight.trends.results import (
    BASE,
    CENTRAL,
    FEDERATED,
    LEARNED,
    SeriesResult,
    TrendStudy,
)
from clients.insight.trends.scores import (
    directions,
    hits_of_commonest,
    levels,
    score,
    smapes,
    told_directions,
)
from clients.insight.trends.study_figure import picture
from clients.insight.trends.study_tables import markdown
from clients.insight.trends.yardsticks import AR_LOG, PERSISTENCE, YARDSTICKS, yardstick
from clients.prompts.book import Book
from clients.study.methods.laboratory import Lab, scratch
from fl import durable
from fl.adapter import Adapter, initial_adapter
from fl.settings import Settings, with_task
from fl.site import Site
from fl.tasks import TREND

FOLDER = "study-trends"

OnRound = Callable[[int], None]
Train = Callable[[Settings, EdgeModel, Sequence[Book], OnRound], Adapter]


def study_trends(settings: Settings, console: Console) -> None:
    """Measure, and write study-trends.md, .json and .png.

    Raises SettingsError where the data is not there, before anything is trained.
    """
    settings = replace(with_task(settings, TREND), personal="none", method="fedavg")
    series = read_series(settings.trend.study)
    model = edge_model(settings)
    found = _measure(settings, series, model, console)
    out, text = settings.run_dir / FOLDER, markdown(found, settings)
    durable.publish(
        out / "study-trends.json", (json.dumps(asdict(found), indent=1) + "\n").encode()
    )
    durable.publish(out / "study-trends.png", picture(found))
    durable.publish(out / "study-trends.md", text.encode())
    console.print(Text(text), soft_wrap=True)
    console.print(f"  {out / 'study-trends.md'}", soft_wrap=True, highlight=False)


def _measure(
    settings: Settings, series: Sequence[Series], model: EdgeModel, console: Console
) -> TrendStudy:
    coverage = settings.trend.coverage
    books = [one.book() for one in series]
    forecasting = Forecasting(model, coverage=coverage)
    told: dict[str, list[list[Forecast]]] = {
        name: [yardstick(name, one, coverage=coverage) for one in series] for name in YARDSTICKS
    }
    seconds: dict[str, float] = {}
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        for arm in LEARNED:
            bar = progress.add_task(f"trends: {arm}", total=settings.rounds + 1)
            began = time.perf_counter()

            def on_round(number: int, bar: object = bar) -> None:
                progress.advance(bar)  # type: ignore[arg-type]

            adapter = _TRAIN[arm](settings, model, books, on_round)
            judged = time.perf_counter()
            told[arm] = [
                forecasting.next(adapter, [window for window, _ in one.heldout], past=one.counts)
                for one in series
            ]
            ended = time.perf_counter()
            seconds[arm] = ended - began
            progress.update(bar, completed=settings.rounds + 1)
            console.print(
                f"  {arm}: {seconds[arm]:.0f} s, mean sMAPE {_mean_smape(series, told[arm]):.3f}",
                highlight=False,
            )
    heldout = sum(len(one.heldout) for one in series)
    return TrendStudy(
        series=tuple(
            result(one, {arm: told[arm][i] for arm in told}) for i, one in enumerate(series)
        ),
        seconds=seconds,
        one_ms=_one_ms(forecasting, adapter, series[0], settings.trend.study.timed_forecasts),
        batch_ms=(ended - judged) * 1000 / heldout,
    )


def result(one: Series, told: Mapping[str, Sequence[Forecast]]) -> SeriesResult:
    """Every arm's forecasts of a series, judged."""
    known = one.heldout
    naive, regression = (smapes(known, told[name]) for name in (PERSISTENCE, AR_LOG))
    guess = hits_of_commonest(directions(known))
    return SeriesResult(
        name=one.name,
        train=len(one.train),
        heldout=len(known),
        commonest=mean(guess),
        commonest_level=mean(hits_of_commonest(levels(known, one.counts))),
        scores={arm: score(known, found, one.counts) for arm, found in told.items()},
        over_persistence={arm: difference(smapes(known, told[arm]), naive) for arm in LEARNED},
        over_regression={arm: difference(smapes(known, told[arm]), regression) for arm in LEARNED},
        over_commonest={
            arm: difference(told_directions(known, told[arm]), guess) for arm in LEARNED
        },
    )


def _mean_smape(series: Sequence[Series], told: Sequence[Sequence[Forecast]]) -> float:
    return mean(mean(smapes(one.heldout, found)) for one, found in zip(series, told, strict=True))


def _base(
    settings: Settings, model: EdgeModel, books: Sequence[Book], on_round: OnRound
) -> Adapter:
    """An adapter that adds nothing."""
    return initial_adapter(model.spec, model.base.layers, seed=settings.seed)


def _central(
    settings: Settings, model: EdgeModel, books: Sequence[Book], on_round: OnRound
) -> Adapter:
    """The same rounds with one site that has all records and batches as large as all sites'."""
    one = Book(
        site=Site(id="all", place="all"),
        train=tuple(record for book in books for record in book.train),
        heldout=books[0].heldout,
    )
    batch_tokens = settings.learning.batch_tokens * len(books)
    alone = replace(settings, learning=replace(settings.learning, batch_tokens=batch_tokens))
    return _federated(alone, model, [one], on_round)


def _federated(
    settings: Settings, model: EdgeModel, books: Sequence[Book], on_round: OnRound
) -> Adapter:
    """The release after the last round; no site has a personal part."""
    sites = [replace(book.site, rank=settings.learning.rank) for book in books]
    with scratch() as folder:
        lab = Lab(settings, sites, books, model, Path(folder), measure_error=False)
        for number in range(1, settings.rounds + 1):
            lab.play_round(number)
            on_round(number)
    return lab.release.shared


_TRAIN: Mapping[str, Train] = {BASE: _base, CENTRAL: _central, FEDERATED: _federated}


def _one_ms(forecasting: Forecasting, adapter: Adapter, series: Series, times: int) -> float:
    """Median milliseconds of a forecast that is asked for alone."""
    taken = []
    for window, _ in (series.heldout * times)[:times]:
        began = time.perf_counter()
        forecasting.next(adapter, [window], past=series.counts)
        taken.append((time.perf_counter() - began) * 1000)
    return median(taken)
