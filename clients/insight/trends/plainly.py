"""What the study of trends shows and what it does not, in sentences."""

from collections.abc import Sequence

from clients.insight.trends.certainty import SURE
from clients.insight.trends.results import SeriesResult
from clients.insight.trends.yardsticks import AR, AR_LOG, PERSISTENCE

OFF = 0.1  # of coverage, from where it is named
FEW = 30  # windows, below which a series says little


def said(series: Sequence[SeriesResult], arm: str, *, coverage: float) -> list[str]:
    """What an arm wins and where it loses."""
    return [
        f"{arm}, sMAPE: {_errors(series, arm)}",
        f"{arm}, direction: {_directions(series, arm)}",
        f"{arm}, level: {_levels(series, arm)}",
        f"{arm}, interval: {_coverage(series, arm, coverage)}",
    ]


def limits(series: Sequence[SeriesResult], *, seed: int) -> list[str]:
    """What the figures cannot say."""
    few = [f"{one.name} has {one.heldout}" for one in series if one.heldout < FEW]
    return [
        f"Surely: the {SURE:.0%} interval of the difference, of blocks of neighbouring held-out "
        f"windows drawn again, lies on one side of 0. About one of twenty such intervals is "
        "wrong." + (f" Too few windows to say much: {', '.join(few)}." if few else ""),
        f"One seed of training ({seed}): the intervals do not say what another would give.",
        "Rates and rounds were chosen looking at these very windows, for the data has no third "
        "part; on hours that nobody has seen the adapters may do worse. The yardsticks "
        "have nothing to choose, but the best of each series is known in hindsight alone.",
    ]


def _errors(series: Sequence[SeriesResult], arm: str) -> str:
    better = [one for one in series if one.beats_persistence(arm)]
    surely = sum(one.over_persistence[arm].is_below for one in series)
    worse = sum(one.over_persistence[arm].is_above for one in series)
    clear = sum(one.over_regression[arm].is_below for one in series)
    behind = sum(one.over_regression[arm].is_above for one in series)
    over = {
        name: [one for one in series if one.scores[arm].smape < one.scores[name].smape]
        for name in (AR, AR_LOG)
    }
    best = [
        one
        for one in series
        if one.scores[arm].smape < -one.best_yardstick(lambda score: -score.smape)
    ]
    regressions = ", ".join(
        f"than {name} in {len(won)}{_lost(series, won)}" for name, won in over.items()
    )
    return (
        f"better than {PERSISTENCE} in {len(better)} of {len(series)} series"
        f"{_lost(series, better)}, surely in {surely}, surely worse in {worse}; better "
        f"{regressions} (surely in {clear}, surely worse in {behind}), than the best yardstick of "
        f"each series in {len(best)}{_lost(series, best)}."
    )


def _directions(series: Sequence[SeriesResult], arm: str) -> str:
    told = [one for one in series if one.beats_commonest(arm)]
    surely = sum(one.over_commonest[arm].is_above for one in series)
    best = [
        one
        for one in series
        if one.scores[arm].direction > one.best_yardstick(lambda score: score.direction)
    ]
    return (
        f"better than the commonest one in {len(told)} of {len(series)} series"
        f"{_lost(series, told)}, surely in {surely}; than the best yardstick of each series in "
        f"{len(best)}{_lost(series, best)}."
    )


def _levels(series: Sequence[SeriesResult], arm: str) -> str:
    told = [one for one in series if one.scores[arm].level > one.commonest_level]
    best = [
        one
        for one in series
        if one.scores[arm].level > one.best_yardstick(lambda score: score.level)
    ]
    return (
        f"better than the commonest one in {len(told)} of {len(series)} series"
        f"{_lost(series, told)}; than the best yardstick of each series in {len(best)}"
        f"{_lost(series, best)}."
    )


def _coverage(series: Sequence[SeriesResult], arm: str, nominal: float) -> str:
    off = [
        f"{one.name} ({100 * one.scores[arm].coverage:.1f} %)"
        for one in series
        if abs(one.scores[arm].coverage - nominal) > OFF
    ]
    beyond = f"more than {100 * OFF:.0f} points off the {nominal:.0%} it is for"
    return f"{beyond} in {', '.join(off)}." if off else f"in no series {beyond}."


def _lost(series: Sequence[SeriesResult], won: Sequence[SeriesResult]) -> str:
    rest = [one.name for one in series if one not in won]
    return f" (not {', '.join(rest)})" if rest else ""
