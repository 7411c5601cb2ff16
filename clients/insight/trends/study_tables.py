"""The study of trends as Markdown: every series, losses as plainly as wins."""

from collections.abc import Callable

from clients.insight.trends.certainty import SURE, Difference
from clients.insight.trends.plainly import limits, said
from clients.insight.trends.results import (
    ARMS,
    CENTRAL,
    FEDERATED,
    LEARNED,
    SeriesResult,
    TrendStudy,
)
from clients.insight.trends.yardsticks import AR_LOG, PERSISTENCE
from fl.markdown_table import table
from fl.settings import Settings

_JUDGED = (CENTRAL, FEDERATED)
_THAN = (f"{PERSISTENCE}, sMAPE", f"{AR_LOG}, sMAPE", "commonest, direction, points")


def markdown(found: TrendStudy, settings: Settings) -> str:
    """A table a measure, and what stands against what."""
    learning, coverage = settings.learning, settings.trend.coverage
    windows = sum(one.heldout for one in found.series)
    seconds = ", ".join(f"{arm} {taken:.0f} s" for arm, taken in found.seconds.items())
    parts = [
        "# Study of trends",
        f"{len(found.series)} real series, {windows} held-out windows of 24 counts; all of them "
        "come after all training. Federated: a site has one series. Adapters: rank "
        f"{learning.rank}, {settings.rounds} rounds of {learning.local_steps} step(s) of "
        f"{learning.batch_tokens} tokens at every site ({learning.optimizer} there, "
        f"{settings.federation.server_optimizer} at the server); the centralised has all series "
        f"at one site, and batches as large as all sites' together; seed {settings.seed}. "
        f"A forecast takes {found.one_ms:.0f} ms alone, {found.batch_ms:.0f} ms in a batch "
        f"({settings.threads} thread{'s' * (settings.threads > 1)}). Training and forecasts: "
        f"{seconds}.",
        "## sMAPE (0 to 2, less is better); * = worse than persistence",
        _table(found, lambda one, arm: f"{one.scores[arm].smape:.3f}{_mark(one, arm)}", "smape"),
        "## Direction told, %; * = no better than the commonest direction",
        table(
            ["series", "windows", "commonest", *ARMS],
            [
                [one.name, str(one.heldout), _share(one.commonest), *_directions(one)]
                for one in found.series
            ],
        ),
        f"## Coverage of the {coverage:.0%} interval, % / its width as a share of the mean count",
        table(["series", *ARMS], [[one.name, *_intervals(one)] for one in found.series]),
        "## Level told (fifth of the training hours), %; * = no better than the commonest level",
        table(
            ["series", "commonest", *ARMS],
            [[one.name, _share(one.commonest_level), *_levels(one)] for one in found.series],
        ),
        f"## How sure: difference and its {SURE:.0%} interval over held-out windows",
        table(
            ["series", "windows", *(f"{arm} - {than}" for arm in _JUDGED for than in _THAN)],
            [[one.name, str(one.heldout), *_sure(one)] for one in found.series],
        ),
        "## Said plainly",
        "\n".join(
            f"- {line}"
            for line in [
                *(line for arm in _JUDGED for line in said(found.series, arm, coverage=coverage)),
                *limits(found.series, seed=settings.seed),
            ]
        ),
    ]
    return "\n\n".join(parts) + "\n"


def _table(found: TrendStudy, cell: Callable[[SeriesResult, str], str], measure: str) -> str:
    rows = [[one.name, *(cell(one, arm) for arm in ARMS)] for one in found.series]
    means = [
        sum(float(getattr(one.scores[arm], measure)) for one in found.series) / len(found.series)
        for arm in ARMS
    ]
    rows.append(["mean of series", *(f"{mean:.3f}" for mean in means)])
    return table(["series", *ARMS], rows)


def _mark(one: SeriesResult, arm: str) -> str:
    return "" if arm == PERSISTENCE or one.beats_persistence(arm) else " *"


def _directions(one: SeriesResult) -> list[str]:
    return [
        _share(one.scores[arm].direction)
        + (" *" if arm in LEARNED and not one.beats_commonest(arm) else "")
        for arm in ARMS
    ]


def _levels(one: SeriesResult) -> list[str]:
    return [
        _share(one.scores[arm].level)
        + (" *" if arm in LEARNED and one.scores[arm].level <= one.commonest_level else "")
        for arm in ARMS
    ]


def _sure(one: SeriesResult) -> list[str]:
    return [
        cell
        for arm in _JUDGED
        for cell in (
            _interval(one.over_persistence[arm], 1, 3),
            _interval(one.over_regression[arm], 1, 3),
            _interval(one.over_commonest[arm], 100, 1),
        )
    ]


def _interval(of: Difference, times: float, digits: int) -> str:
    mean, low, high = (f"{times * value:+.{digits}f}" for value in (of.mean, of.low, of.high))
    return f"{mean} ({low} to {high})"


def _intervals(one: SeriesResult) -> list[str]:
    return [f"{_share(s.coverage)} / {s.width:.2f}" for s in map(one.scores.__getitem__, ARMS)]


def _share(value: float) -> str:
    return f"{100 * value:.1f}"
