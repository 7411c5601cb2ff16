"""A trace played against a cache of one size under one policy, with the classes that also run.

persistence, ar, edge and oracle differ only in the forecast that `ByForecast` weighs topics with;
equal gives it the same of every topic, which forecasts nothing. belady knows the whole future:
nobody can do better without prefetching.
"""

import heapq
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf

from clients.insight.acting.auto_regression import LAGS
from clients.insight.acting.cache_trace import Item, Topic, Trace
from clients.insight.acting.eviction import ByForecast, Eviction, Lfu, Lru
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
    """What is expected of each hour from those before it; the first hours' are what came."""
    hours: list[dict[str, float]] = [{} for _ in topics[0].counts]
    for topic in topics:
        its = forecaster(topic)
        for hour, count in enumerate(topic.counts):
            if hour < LAGS:
                hours[hour][topic.name] = count
                continue
            at = datetime.fromtimestamp((hour - 1) * 3600, UTC)
            hours[hour][topic.name] = max(0.0, its(topic.counts[:hour], at).value)
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


def equal(topics: Sequence[Topic]) -> Forecasts:
    """The same of every topic in every hour: nothing is forecast."""
    return [{topic.name: 1.0 for topic in topics} for _ in topics[0].counts]


def replay(
    trace: Trace,
    size: int,
    policy: str,
    *,
    expected: Forecasts | None = None,
    prefetch: bool = False,
) -> Replayed:
    """Play it. `policy` is lru, lfu or forecast, which needs `expected`, as prefetching does."""
    now: Mapping[str, float] = {}
    eviction = _eviction(policy, lambda: now)
    held: set[Item] = set()
    fresh: set[Item] = set()  # prefetched and not asked for yet
    seen: dict[str, Counter[Item]] = defaultdict(Counter)  # what was asked for of a topic
    tally = Counter[str]()

    def put(item: Item) -> None:
        if len(held) >= size:
            gone = eviction.victim()
            eviction.gone(gone)
            held.discard(gone)
            fresh.discard(gone)
        held.add(item)
        eviction.asked(item, item[0])

    for hour, asked in enumerate(trace.hours):
        counts = hour >= LAGS
        if expected is not None:
            now = expected[hour]
            if prefetch:
                for item in _most_expected(now, seen, held, size // PREFETCHED):
                    put(item)
                    fresh.add(item)
                    tally["prefetched"] += counts
                    tally["bytes_prefetched"] += counts * trace.sizes[item]
        for item in asked:
            seen[item[0]][item] += 1
            tally["requests"] += counts
            if item in held:
                tally["hits"] += counts
                tally["used"] += counts * (item in fresh)
                fresh.discard(item)
                eviction.asked(item, item[0])
            else:
                tally["bytes_missed"] += counts * trace.sizes[item]
                put(item)
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


def _eviction(policy: str, expected: Callable[[], Mapping[str, float]]) -> Eviction:
    if policy == "lru":
        return Lru()
    return Lfu() if policy == "lfu" else ByForecast(expected)


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


def _most_expected(
    now: Mapping[str, float], seen: Mapping[str, Counter[Item]], held: set[Item], most: int
) -> list[Item]:
    """Items that are not held, by their topic's forecast times their share of it so far.

    Only such as are expected at least once: the others would mostly be fetched for nobody.
    """
    worth = [
        (now.get(topic, 0.0) * often / its.total(), item)
        for topic, its in seen.items()
        for item, often in its.items()
        if item not in held
    ]
    return [item for value, item in heapq.nlargest(most, worth) if value >= 1.0]
