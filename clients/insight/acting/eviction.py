"""What a full cache lets go first.

lru       what was asked for longest ago
lfu       what was asked for least often since it came in; of these, longest ago
forecast  what is expected least in the running interval: the forecast count of its kind, times its
          share of that kind's requests; of these, longest ago. Where nothing is forecast yet: lru
"""

import heapq
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Hashable, Mapping
from typing import Protocol


class Eviction(Protocol):
    """Knows the entries of one cache by their keys. Not for threads."""

    def asked(self, key: Hashable, kind: str) -> None:
        """An entry was asked for, or has come in."""

    def gone(self, key: Hashable) -> None:
        """An entry is no longer there."""

    def victim(self) -> Hashable:
        """What goes first; there is at least one entry."""


class Lru:
    """Least recently used."""

    def __init__(self) -> None:
        self._order: OrderedDict[Hashable, None] = OrderedDict()

    def asked(self, key: Hashable, kind: str) -> None:
        self._order[key] = None
        self._order.move_to_end(key)

    def gone(self, key: Hashable) -> None:
        self._order.pop(key, None)

    def victim(self) -> Hashable:
        return next(iter(self._order))


class Lfu:
    """Least frequently used since it came in; ties by recency."""

    def __init__(self) -> None:
        self._tick = 0
        self._now: dict[Hashable, tuple[int, int]] = {}  # how often, when last
        self._heap: list[tuple[int, int, Hashable]] = []  # older states of entries lie in it too

    def __len__(self) -> int:
        return len(self._now)

    def asked(self, key: Hashable, kind: str = "") -> None:
        self._tick += 1
        state = self._now.get(key, (0, 0))[0] + 1, self._tick
        self._now[key] = state
        heapq.heappush(self._heap, (*state, key))

    def gone(self, key: Hashable) -> None:
        self._now.pop(key, None)
        if len(self._heap) > 64 + 8 * len(self._now):
            self._heap = [(*state, key) for key, state in self._now.items()]
            heapq.heapify(self._heap)

    def victim(self) -> Hashable:
        return self.least()[2]

    def least(self) -> tuple[int, int, Hashable]:
        """How often the victim was asked for, when last, and what it is."""
        while True:
            often, last, key = self._heap[0]
            if self._now.get(key) == (often, last):
                return often, last, key
            heapq.heappop(self._heap)


class ByForecast:
    """Least expected."""

    def __init__(self, expected: Callable[[], Mapping[str, float]]) -> None:
        """`expected` looks up the counts that are forecast of the running interval, by kind."""
        self._expected, self._recent = expected, Lru()
        self._of_kind: dict[str, Lfu] = {}
        self._kind_of: dict[Hashable, str] = {}
        self._asked: dict[str, int] = defaultdict(int)

    def asked(self, key: Hashable, kind: str) -> None:
        self._asked[kind] += 1
        self._kind_of[key] = kind
        self._recent.asked(key, kind)
        self._of_kind.setdefault(kind, Lfu()).asked(key)

    def gone(self, key: Hashable) -> None:
        self._recent.gone(key)
        if (kind := self._kind_of.pop(key, None)) is not None:
            self._of_kind[kind].gone(key)
            if not self._of_kind[kind]:
                del self._of_kind[kind]

    def victim(self) -> Hashable:
        expected = self._expected()
        if not expected:
            return self._recent.victim()

        def worth(kind: str) -> float:
            often, _, _ = self._of_kind[kind].least()
            return expected.get(kind, 0.0) * often / self._asked[kind]

        return self._of_kind[min(self._of_kind, key=worth)].victim()
