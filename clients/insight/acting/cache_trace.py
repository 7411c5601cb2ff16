"""Request traces for the cache replay, drawn from real counts.

The counts are real: hourly mentions, taxi trips. That they are requests is an assumption, and they
stand in for the popularity of content: a series is a topic, its counts, scaled to a mean of
cache.study.scale, are how often the topic is asked for in each hour, and which of a topic's items a
request is for is drawn by a Zipf law that does not change. Items of this kind are what a cache of a
site would see only if its people's interest moved as these series do.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.insight.acting.auto_regression import LAGS, AutoRegression
from fl.errors import SettingsError
from fl.settings import resolve
from fl.settings_acting import CacheStudySettings

HOURS = 100  # shorter series are left out
_SIZES = (6.4, 0.5)  # bytes of an enriched prompt and its answer: mean and deviation of their log

Item = tuple[str, int]  # topic, rank


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A series. Its first LAGS counts only warm caches and forecasters."""

    name: str
    counts: tuple[float, ...]  # an hour each, scaled
    model: AutoRegression  # fitted to the training part, scaled alike


@dataclass(frozen=True, kw_only=True)
class Trace:
    """What is asked for, hour by hour."""

    hours: tuple[tuple[Item, ...], ...]
    sizes: dict[Item, int]  # bytes


def read_topics(settings: CacheStudySettings) -> tuple[list[Topic], list[str]]:
    """Topics, and the names of series that are too short. Raises SettingsError for no data."""
    folder = resolve(settings.data)
    training, found = _series(folder / "train.jsonl"), _series(folder / "val.jsonl")
    length = min((len(rows) for rows in found.values() if len(rows) >= HOURS), default=0)
    if not length:
        raise SettingsError(f"{folder} has no series of at least {HOURS} hours in val.jsonl.")
    topics = []
    for name, rows in found.items():
        if len(rows) < HOURS or name not in training:
            continue
        counts = [*rows[0][0], *(target for _, target in rows[:length])]
        by = settings.scale / max(1e-9, float(np.mean([c for w, _ in training[name] for c in w])))
        topics.append(
            Topic(
                name=name,
                counts=tuple(by * count for count in counts),
                model=AutoRegression(
                    [[by * count for count in window] for window, _ in training[name]],
                    [by * target for _, target in training[name]],
                ),
            )
        )
    names = {topic.name for topic in topics}
    return topics, sorted(name for name in found if name not in names)


def draw(topics: Sequence[Topic], settings: CacheStudySettings, *, seed: int) -> Trace:
    """One trace. Counts are the series' own, rounded; items and their order are drawn."""
    rng = np.random.default_rng([settings.items, seed])
    weights = 1.0 / np.arange(1, settings.items + 1) ** settings.zipf
    shares = weights / weights.sum()
    hours = []
    for hour in range(len(topics[0].counts)):
        asked: list[Item] = []
        for topic in topics:
            ranks = rng.choice(settings.items, size=round(topic.counts[hour]), p=shares)
            asked += [(topic.name, int(rank)) for rank in ranks]
        hours.append(tuple(asked[place] for place in rng.permutation(len(asked))))
    sizes = {
        (topic.name, rank): max(64, int(size))
        for topic in topics
        for rank, size in enumerate(rng.lognormal(*_SIZES, size=settings.items))
    }
    return Trace(hours=tuple(hours), sizes=sizes)


def _series(file: Path) -> dict[str, list[tuple[list[float], float]]]:
    """Windows of LAGS counts and the count after each, by series, in their order."""
    if not file.is_file():
        raise SettingsError(
            f"There is no {file}. cache.study.data names the folder with the hourly counts."
        )
    found: dict[str, list[tuple[list[float], float]]] = defaultdict(list)
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            window = [float(count) for count in row["history"]]
            found[str(row["site"])].append((window, float(row["target"])))
        except (ValueError, TypeError, KeyError):
            raise SettingsError(
                f"{file}, line {number}: expected site, history and target."
            ) from None
        if len(window) != LAGS:
            raise SettingsError(f"{file}, line {number}: expected {LAGS} counts in history.")
    return found
