"""The study of trends as Markdown: every series, losses as plainly as wins."""

from collections.abc import Callable, Sequence

from clients.insight.trends.results import (
    ARMS,
    CENTRAL,
    FEDERATED,
    LEARNED,
    SeriesResult,
    TrendStudy,
)
from clients.insight.trends.yardsticks import AR, PERSISTENCE, YARDSTICKS
from fl.markdown_table import table
from fl.settings import Settings

_JUDGED = (CENTRAL, FEDERATED)


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
        f"({settings.threads} threads). Training and forecasts: {seconds}.",
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
        "## Said plainly",
        "\n".join(f"- {line}" for arm in _JUDGED for line in said(found.series, arm)),
    ]
    return "\n\n".join(parts) + "\n"


def said(series: Sequence[SeriesResult], arm: str) -> list[str]:
    """What an arm wins and where it loses."""
    better = [one for one in series if one.beats_persistence(arm)]
    told = [one for one in series if one.beats_commonest(arm)]
    over = [one for one in series if one.scores[arm].smape < one.scores[AR].smape]
    best = [
        one
        for one in series
        if one.scores[arm].smape < min(one.scores[name].smape for name in YARDSTICKS)
    ]
    n = len(series)
    return [
        f"{arm}, sMAPE: better than {PERSISTENCE} in {len(better)} of {n} series"
        f"{_lost(series, better)}, than {AR} in {len(over)}{_lost(series, over)}, than the best "
        f"yardstick of each series in {len(best)}{_lost(series, best)}.",
        f"{arm}, direction: better than the commonest one in {len(told)} of {n} series"
        f"{_lost(series, told)}.",
    ]


def _lost(series: Sequence[SeriesResult], won: Sequence[SeriesResult]) -> str:
    rest = [one.name for one in series if one not in won]
    return f" (not {', '.join(rest)})" if rest else ""


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


def _intervals(one: SeriesResult) -> list[str]:
    return [f"{_share(s.coverage)} / {s.width:.2f}" for s in map(one.scores.__getitem__, ARMS)]


def _share(value: float) -> str:
    return f"{100 * value:.1f}"
