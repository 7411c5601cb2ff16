"""What happens when, in a model of time without waiting."""

import heapq
from collections.abc import Callable
from itertools import count


class Calendar:
    """Events in the order of their times; those of one time in the order they were entered."""

    def __init__(self) -> None:
        self.now = 0.0
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._order = count()

    def at(self, when: float, happens: Callable[[], object]) -> None:
        """Have it happen then."""
        heapq.heappush(self._due, (when, next(self._order), happens))

    def run(self) -> None:
        """Until nothing is due any longer."""
        while self._due:
            self.now, _, happens = heapq.heappop(self._due)
            happens()
