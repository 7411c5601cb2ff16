"""`insight cache`: what forecasts bring a cache, against LRU, LFU and the best possible."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial

from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from clients.insight.acting.cache_figure import picture
from clients.insight.acting.cache_replay import (
    Forecasts,
    Replayed,
    belady,
    flat,
    oracle,
    persistence,
    regression,
    replay,
)
from clients.insight.acting.cache_table import REMEMBERING, Found, markdown
from clients.insight.acting.cache_trace import Trace, draw, read_topics
from fl import durable
from fl.settings import Settings

Play = Callable[[Trace, int], Replayed]


def study_cache(settings: Settings, console: Console) -> Found:
    """Replay, and write RUN/study-cache: study_cache.md, .json and .png.

    Raises SettingsError where the counts are not at hand.
    """
    its = settings.cache.study
    topics, left_out = read_topics(its)
    forecasts = {
        "flat": flat(topics, its.scale),
        "persistence": persistence(topics),
        "ar": regression(topics),
        "oracle": oracle(topics),
    }
    plays = _plays(forecasts)
    results: dict[str, dict[int, list[Replayed]]] = {name: {} for name in plays}
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("replay", total=its.seeds * len(its.sizes) * len(plays))
        for number in range(its.seeds):
            trace = draw(topics, its, seed=settings.seed + number)
            for size in its.sizes:
                for name, play in plays.items():
                    results[name].setdefault(size, []).append(play(trace, size))
                    progress.advance(bar)
    found = Found(
        settings=its,
        topics=tuple(topic.name for topic in topics),
        left_out=tuple(left_out),
        hours=len(topics[0].counts),
        results=results,
    )
    folder = settings.run_dir / "study-cache"
    durable.publish(folder / "study_cache.md", markdown(found).encode())
    durable.publish(folder / "study_cache.json", json.dumps(asdict(found), indent=1).encode())
    durable.publish(folder / "study_cache.png", picture(found))
    console.print(Text(markdown(found)), soft_wrap=True)
    console.print(f"  {folder / 'study_cache.md'}", soft_wrap=True)
    return found


def _plays(forecasts: Mapping[str, Forecasts]) -> dict[str, Play]:
    """Every row of the table, by its name."""

    def forecast(expected: Forecasts, *, prefetch: bool) -> Play:
        return lambda trace, size: replay(
            trace, size, "forecast", expected=expected, prefetch=prefetch
        )

    plays: dict[str, Play] = {
        "lru": lambda trace, size: replay(trace, size, "lru"),
        "lfu": lambda trace, size: replay(trace, size, "lfu"),
        REMEMBERING: lambda trace, size: replay(trace, size, "lfu-remembering"),
    }
    for name, expected in forecasts.items():
        plays[f"forecast: {name}"] = forecast(expected, prefetch=False)
    for name in forecasts:
        if name != "ar":
            plays[f"forecast: {name}, prefetching"] = forecast(forecasts[name], prefetch=True)
    for row, policy in (("lru", "lru"), (REMEMBERING, "lfu-remembering")):
        plays[f"{row}, prefetching by persistence"] = partial(
            replay, policy=policy, expected=forecasts["persistence"], prefetch=True
        )
    plays["belady"] = belady
    return plays
