"""`insight`: what the by-products of the edge model are worth, measured by one command each."""

from typing import Annotated

import typer
from rich.console import Console

from fl.choices import load_fitting
from fl.settings import Settings

insight = typer.Typer(
    help="Measure the by-products: intents, trends, tasks on one base, the cache they drive.",
    no_args_is_help=True,
)
Arguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings, or config=FILE for several."),
]


@insight.command()
def intents(arguments: Arguments = None) -> None:
    """Intents of real texts: accuracy, slots, out of scope; federated by domain, and baselines.

    Reads intent.study.data and the edge model. Writes var/NAME-SEED/study-intents.
    """
    from clients.insight.intents.study import study_intents

    study_intents(_settings(arguments), Console())


@insight.command()
def trends(arguments: Arguments = None) -> None:
    """Trends of real series: error, direction, intervals, against what needs no model.

    Reads trend.data and the edge model. Writes var/NAME-SEED/study-trends.
    """
    from clients.insight.trends.study import study_trends

    study_trends(_settings(arguments), Console())


@insight.command()
def tasks(arguments: Arguments = None) -> None:
    """Memory of one base with an adapter a task, and quality of one adapter for all.

    Draws the demo sites' books of every task. Writes var/NAME-SEED/study-tasks.
    """
    from clients.insight.tasks.study import study_tasks

    study_tasks(_settings(arguments), Console())


@insight.command()
def cache(arguments: Arguments = None) -> None:
    """Hit rates of a cache that forecasts fill, against LRU, both LFUs and the optimum.

    Reads cache.study.data. Writes var/NAME-SEED/study-cache.
    """
    from clients.insight.acting.cache_study import study_cache

    study_cache(_settings(arguments), Console())


def _settings(arguments: list[str] | None) -> Settings:
    return load_fitting(list(arguments or []))
