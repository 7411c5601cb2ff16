"""What a full cache lets go first.

lru             what was asked for longest ago
lfu             what was asked for least often since it came in; of these, longest ago
lfu-remembering what was asked for least often in all: who comes back is counted on
forecast        what is expected least in the running interval: the forecast count of its kind,
                times its share of all of that kind's requests, those before it last came in too; of
                these, longest ago. Where nothing is forecast yet: lru

The cache of an edge service and the replay of `insight cache` take them from here, both.
"""

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping
from itertools import count
from typing import Protocol

REMEMBERED = 4096  # counts of what has gone, of a kind


class Eviction(Protocol):
    """Knows the entries of one cache by their keys. Not for threads."""

    def asked(self, key: Hashable, kind: str) -> None:
        """An entry was asked for, or has come in because it was."""

    def fetched(self, key: Hashable, kind: str) -> None:
        """An entry has come in before anybody asked for it."""

    def gone(self, key: Hashable) -> None:
        """An entry is no longer there."""

    def forget(self, key: Hashable) -> None:
        """An entry is no longer there, and nobody shall remember that it was."""

    def victim(self) -> Hashable:
        """What goes first; there is at least one entry."""


class Lru:
    """Least recently used."""

    def __init__(self) -> None:
        self._order: OrderedDict[Hashable, None] = OrderedDict()

    def asked(self, key: Hashable, kind: str) -> None:
        self._order[key] = None
        self._order.move_to_end(key)

    def fetched(self, key: Hashable, kind: str) -> None:
        self.asked(key, kind)

    def gone(self, key: Hashable) -> None:
        self._order.pop(key, None)

    def forget(self, key: Hashable) -> None:
        self.gone(key)

    def victim(self) -> Hashable:
        return next(iter(self._order))


class Lfu:
    """Least frequently used; ties by recency."""

    def __init__(self, *, remembers: int = 0, ticks: Iterator[int] | None = None) -> None:
        """Counts of the newest `remembers` that have gone are kept; without, who comes back begins
        anew. `ticks` are shared by those whose entries are compared.
        """
        self._remembers, self._ticks = remembers, ticks or count()
        self._now: dict[Hashable, tuple[int, int]] = {}  # how often, when last
        self._past: OrderedDict[Hashable, int] = OrderedDict()  # how often, of what has gone
        self._heap: list[tuple[int, int, Hashable]] = []  # older states of entries lie in it too

    def __len__(self) -> int:
        return len(self._now)

    def asked(self, key: Hashable, kind: str) -> None:
        self._put(key, 1)

    def fetched(self, key: Hashable, kind: str) -> None:
        self._put(key, 0)

    def gone(self, key: Hashable) -> None:
        if (state := self._now.pop(key, None)) is not None and self._remembers:
            self._past[key] = state[0]
            if len(self._past) > self._remembers:
                self._past.popitem(last=False)
        self._tidy()

    def forget(self, key: Hashable) -> None:
        self._now.pop(key, None)
        self._past.pop(key, None)
        self._tidy()

    def victim(self) -> Hashable:
        return self.least()[2]

    def least(self) -> tuple[int, int, Hashable]:
        """How often the victim was asked for, when last, and what it is."""
        while True:
            often, last, key = self._heap[0]
            if self._now.get(key) == (often, last):
                return often, last, key
            heapq.heappop(self._heap)

    def _tidy(self) -> None:
        if len(self._heap) > 64 + 8 * len(self._now):
            self._heap = [(*state, key) for key, state in self._now.items()]
            heapq.heapify(self._heap)

    def _put(self, key: Hashable, more: int) -> None:
        often = self._now[key][0] if key in self._now else self._past.pop(key, 0)
        state = self._now[key] = often + more, next(self._ticks)
        heapq.heappush(self._heap, (*state, key))


class ByForecast:
    """Least expected."""

    def __init__(self, expected: Callable[[], Mapping[str, float]]) -> None:
        """`expected` looks up the counts that are forecast of the running interval, by kind."""
        self._expected, self._recent, self._ticks = expected, Lru(), count()
        self._of_kind: dict[str, Lfu] = {}
        self._kind_of: dict[Hashable, str] = {}  # of what is there
        self._asked: dict[str, int] = defaultdict(int)  # in all

    def asked(self, key: Hashable, kind: str) -> None:
        self._asked[kind] += 1
        self._recent.asked(key, kind)
        self._entries(key, kind).asked(key, kind)

    def fetched(self, key: Hashable, kind: str) -> None:
        self._recent.fetched(key, kind)
        self._entries(key, kind).fetched(key, kind)

    def gone(self, key: Hashable) -> None:
        self._recent.gone(key)
        if (kind := self._kind_of.pop(key, None)) is not None:
            self._of_kind[kind].gone(key)

    def forget(self, key: Hashable) -> None:
        self._recent.forget(key)
        if (kind := self._kind_of.pop(key, None)) is not None:
            self._of_kind[kind].forget(key)

    def victim(self) -> Hashable:
        expected = self._expected()
        if not expected:
            return self._recent.victim()

        def worth(kind: str) -> tuple[float, int]:
            often, last, _ = self._of_kind[kind].least()
            return expected.get(kind, 0.0) * often / max(1, self._asked[kind]), last

        there = (kind for kind, entries in self._of_kind.items() if entries)
        return self._of_kind[min(there, key=worth)].victim()

    def _entries(self, key: Hashable, kind: str) -> Lfu:
        self._kind_of[key] = kind
        if kind not in self._of_kind:
            self._of_kind[kind] = Lfu(remembers=REMEMBERED, ticks=self._ticks)
        return self._of_kind[kind]


def eviction_of(policy: str, expected: Callable[[], Mapping[str, float]]) -> Eviction:
    """The policy of this name, as cache.policy has it; `expected` is as ByForecast takes it."""
    if policy == "lru":
        return Lru()
    if policy == "forecast":
        return ByForecast(expected)
    return Lfu(remembers=REMEMBERED if policy == "lfu-remembering" else 0)
