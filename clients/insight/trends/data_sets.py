"""Real count series for the study: every window that can be rebuilt from a split's records.

A file holds windows, {site, history, target, t}. Their counts, put beside each other by hour, give
back the series, from which all windows without a gap are cut: training sees every hour of the
training file and no hour of another.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from clients.insight.trends.encoding import HISTORY, NEXT, Known, Window
from clients.insight.trends.trend_book import counts_under, time_of, trend_record
from clients.prompts.book import Book, text_of
from clients.prompts.record import PromptRecord
from fl.errors import BookError, SettingsError
from fl.settings import resolve
from fl.settings_trend import TrendStudySettings
from fl.site import Site

_STEP = timedelta(hours=1)

Hours = dict[datetime, float]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One series, split by time."""

    name: str
    counts: tuple[float, ...]  # of its training hours
    train: tuple[Known, ...]  # with 1 to NEXT counts after each
    heldout: tuple[Known, ...]  # with the one count after each

    def book(self) -> Book:
        """A site that has this series alone."""
        site = Site(id=self.name.lower().replace("_", "-"), place=self.name)
        records = tuple(_record(known) for known in self.train)
        return Book(site=site, train=records, heldout=records[:1])  # a round measures nothing here


def read_series(settings: TrendStudySettings) -> list[Series]:
    """The series asked for. Raises SettingsError where they are not there, BookError for a line."""
    folder = resolve(settings.data)
    training = _read(folder / "train.jsonl")
    heldout = _read(folder / "val.jsonl")
    wanted = settings.series or sorted(training)
    unknown = [name for name in wanted if name not in training or name not in heldout]
    if unknown:
        raise SettingsError(
            f"trend.study.series: {folder} has no {', '.join(unknown)}; it has "
            f"{', '.join(sorted(training))}."
        )
    return [_series(name, training[name], heldout[name]) for name in wanted]


def _read(file: Path) -> dict[str, list[Known]]:
    if not file.is_file():
        raise SettingsError(
            f"{file} does not exist. Set trend.study.data to a folder with train.jsonl and "
            "val.jsonl, lines of {site, history, target, t}."
        )
    found: dict[str, list[Known]] = {}
    with open(file, encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            where = f"{file}, line {number}"
            try:
                entry = json.loads(line)
            except (ValueError, RecursionError):
                entry = None
            if not isinstance(entry, dict):
                raise BookError(
                    f"{where}: expected a JSON object, as {{site, history, target, t}}."
                )
            history = tuple(counts_under(entry, "history", where))
            target = counts_under({"target": [entry.get("target")]}, "target", where)
            window = Window(history=history, at=time_of(text_of(entry, "t", where), where))
            found.setdefault(text_of(entry, "site", where), []).append((window, tuple(target)))
    return found


def _series(name: str, train: list[Known], heldout: list[Known]) -> Series:
    hours = _hours(train)
    return Series(
        name=name,
        counts=tuple(hours[at] for at in sorted(hours)),
        train=tuple(_windows(hours)),
        heldout=tuple(heldout),
    )


def _hours(known: list[Known]) -> Hours:
    hours: Hours = {}
    for window, (target, *_) in known:
        for back, count in enumerate(reversed(window.history)):
            hours[window.at - back * _STEP] = count
        hours[window.at + _STEP] = target
    return hours


def _windows(hours: Mapping[datetime, float]) -> list[Known]:
    found = []
    for at in sorted(hours):
        back = [hours.get(at - k * _STEP) for k in reversed(range(HISTORY))]
        following = [hours.get(at + k * _STEP) for k in range(1, NEXT + 1)]
        known = following[: following.index(None)] if None in following else following
        history = tuple(count for count in back if count is not None)
        if known and len(history) == HISTORY:
            targets = tuple(count for count in known if count is not None)
            found.append((Window(history=history, at=at), targets))
    return found


def _record(known: Known) -> PromptRecord:
    window, targets = known
    return trend_record(window.history, targets, window.at)
