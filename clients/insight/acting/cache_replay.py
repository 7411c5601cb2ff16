"""A trace played against a cache of one size under one policy, with the classes that also run.

Policies are those of cache.policy (eviction.py). persistence, ar and oracle differ only in the
forecast that `ByForecast` weighs topics with; flat gives it the same of every topic in every hour,
which forecasts nothing. belady knows the whole future: nobody can do better without prefetching.
"""

import heapq
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from typing import cast

from clients.insight.acting.auto_regression import LAGS
from clients.insight.acting.cache_trace import Item, Topic, Trace
from clients.insight.acting.eviction import eviction_of
from clients.insight.acting.persistence import Persistence
from clients.insight.forecast import Forecaster

PREFETCHED = 4  # an hour's prefetch is at most a 4th of the cache

Forecasts = Sequence[Mapping[str, float]]  # by hour: what is expected of it, by topic


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """Of the hours after the first LAGS, which only warm up."""

    requests: int
    hits: int
    bytes_missed: int
    prefetched: int = 0  # items
    bytes_prefetched: int = 0
    prefetched_used: int = 0  # that were asked for before they went

    @property
    def hit_rate(self) -> float:
        return self.hits / self.requests


def forecasts_of(
    topics: Sequence[Topic], forecaster: Callable[[Topic], Forecaster]
) -> list[dict[str, float]]:
    """What is expected of each hour from those before it alone; nothing of the first one.

    Before there are LAGS of them it is as the hour before, whoever forecasts.
    """
    hours: list[dict[str, float]] = [{} for _ in topics[0].counts]
    plain = Persistence()
    for topic in topics:
        its = forecaster(topic)
        for hour in range(1, len(topic.counts)):
            at = datetime.fromtimestamp((hour - 1) * 3600, UTC)
            one = its if hour >= LAGS else plain
            hours[hour][topic.name] = max(0.0, one(topic.counts[:hour], at).value)
    return hours


def persistence(topics: Sequence[Topic]) -> Forecasts:
    """As the hour before."""
    return forecasts_of(topics, lambda topic: Persistence())


def regression(topics: Sequence[Topic]) -> Forecasts:
    """AR(24), fitted to the training part of each series."""
    return forecasts_of(topics, lambda topic: topic.model)


def oracle(topics: Sequence[Topic]) -> Forecasts:
    """What came."""
    return [{t.name: t.counts[hour] for t in topics} for hour in range(len(topics[0].counts))]


def flat(topics: Sequence[Topic], each: float) -> Forecasts:
    """The same of every topic in every hour: nothing is forecast."""
    return [{topic.name: each for topic in topics} for _ in topics[0].counts]


def replay(
    trace: Trace,
    size: int,
    policy: str,
    *,
    expected: Forecasts | None = None,
    prefetch: bool = False,
) -> Replayed:
    """Play it. `policy` is as cache.policy; forecast needs `expected`, as prefetching does."""
    now: Mapping[str, float] = {}
    eviction = eviction_of(policy, lambda: now)
    held: set[Item] = set()
    fresh: set[Item] = set()  # prefetched and not asked for yet
    seen: dict[str, Counter[Item]] = defaultdict(Counter)  # what was asked for of a topic
    tally = Counter[str]()

    def make_room() -> None:
        if len(held) >= size:
            gone = eviction.victim()
            eviction.gone(gone)
            held.discard(gone)
            fresh.discard(gone)

    def fetch(counts: bool) -> None:
        worth = _worths(now, seen)
        for item in _most_expected(worth, held, size // PREFETCHED):
            if len(held) >= size and worth.get(cast(Item, eviction.victim()), 0.0) >= worth[item]:
                return  # what would go for it is expected as often
            make_room()
            held.add(item)
            fresh.add(item)
            eviction.fetched(item, item[0])
            tally["prefetched"] += counts
            tally["bytes_prefetched"] += counts * trace.sizes[item]

    for hour, asked in enumerate(trace.hours):
        counts = hour >= LAGS
        if expected is not None:
            now = expected[hour]
            if prefetch:
                fetch(counts)
        for item in asked:
            seen[item[0]][item] += 1
            tally["requests"] += counts
            if item in held:
                tally["hits"] += counts
                tally["used"] += counts * (item in fresh)
                fresh.discard(item)
            else:
                tally["bytes_missed"] += counts * trace.sizes[item]
                make_room()
                held.add(item)
            eviction.asked(item, item[0])
    return Replayed(
        requests=tally["requests"],
        hits=tally["hits"],
        bytes_missed=tally["bytes_missed"],
        prefetched=tally["prefetched"],
        bytes_prefetched=tally["bytes_prefetched"],
        prefetched_used=tally["used"],
    )


def belady(trace: Trace, size: int) -> Replayed:
    """What is asked for again latest goes first: the most hits that are possible."""
    order = [(hour, item) for hour, asked in enumerate(trace.hours) for item in asked]
    times: dict[Item, list[int]] = defaultdict(list)
    for time, (_, item) in enumerate(order):
        times[item].append(time)
    following: dict[Item, float] = {}  # of what is held: when it is asked for next
    heap: list[tuple[float, Item]] = []  # by that, the latest first; older states lie in it too
    tally = Counter[str]()
    for time, (hour, item) in enumerate(order):
        counts = hour >= LAGS
        tally["requests"] += counts
        its = times[item]
        place = bisect_left(its, time) + 1
        again = its[place] if place < len(its) else inf
        if item in following:
            tally["hits"] += counts
        else:
            tally["bytes_missed"] += counts * trace.sizes[item]
            if len(following) >= size and not _make_room(following, heap, again):
                continue  # it would be the first to go
        following[item] = again
        heapq.heappush(heap, (-again, item))
    return Replayed(
        requests=tally["requests"], hits=tally["hits"], bytes_missed=tally["bytes_missed"]
    )


def _make_room(following: dict[Item, float], heap: list[tuple[float, Item]], again: float) -> bool:
    while True:
        later, item = heap[0]
        if following.get(item) != -later:
            heapq.heappop(heap)
            continue
        if -later < again:
            return False
        heapq.heappop(heap)
        del following[item]
        return True


def _worths(now: Mapping[str, float], seen: Mapping[str, Counter[Item]]) -> dict[Item, float]:
    """How often every item is expected: its topic's forecast times its share of it so far."""
    found: dict[Item, float] = {}
    for topic, its in seen.items():
        each = now.get(topic, 0.0) / its.total()
        found |= {item: each * often for item, often in its.items()}
    return found


def _most_expected(worth: Mapping[Item, float], held: set[Item], most: int) -> list[Item]:
    """Items that are not held, the most expected first.

    Only such as are expected at least once: the others would mostly be fetched for nobody.
    """
    wanted = [(value, item) for item, value in worth.items() if value >= 1.0 and item not in held]
    return [item for _, item in heapq.nlargest(most, wanted)]
