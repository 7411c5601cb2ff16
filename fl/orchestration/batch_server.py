"""A model that writes many answers together, as a fluid: how long what it has been given takes.

A step writes a token of every request that runs, and takes step_s + row_s * k seconds for k of
them. So a lone request is quick and many together are slower each, yet cheaper each (continuous
batching).
"""

import heapq
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

_NOTHING = 1e-6  # of a token: what is left of one that is through


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How fast a model writes."""

    step_s: float  # seconds of a step, whatever runs
    row_s: float  # seconds more for each request in it
    rows: int  # requests in a step, at the most

    def token_s(self, together: int) -> float:
        """Seconds of a step with so many requests."""
        return self.step_s + self.row_s * together


class BatchServer:
    """One model and its requests, first come first served. Times are seconds of any one clock.

    Nothing leaves by itself: who is through stays until `remove`, as a slow one would.
    """

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._running: dict[str, float] = {}  # tokens still to write
        self._waiting: deque[tuple[str, float]] = deque()
        self._coming: dict[str, float] = {}  # have a place and do not write yet: when they will
        self._at = 0.0

    def __len__(self) -> int:
        return len(self._running) + len(self._waiting)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def jobs(self) -> list[str]:
        """All, those that run first."""
        return [*self._running, *(job for job, _ in self._waiting)]

    def left(self, now: float) -> dict[str, float]:
        """Tokens that each still wants, those that run first."""
        self._advance(now)
        return {**self._running, **dict(self._waiting)}

    def put(self, now: float, job: str, tokens: float, *, comes_at: float | None = None) -> None:
        """A request comes; one that `comes_at` a later time keeps its place until `begin`."""
        self._advance(now)
        self._waiting.append((job, tokens))
        if comes_at is not None:
            self._coming[job] = comes_at
        self._fill()

    def begin(self, now: float, job: str) -> None:
        """A request that was coming is here."""
        self._advance(now)
        self._coming.pop(job, None)

    def remove(self, now: float, job: str) -> bool:
        """A request goes, through or not; False where it is not here."""
        self._advance(now)
        self._coming.pop(job, None)
        if self._running.pop(job, None) is not None:
            self._fill()
            return True
        kept = deque(entry for entry in self._waiting if entry[0] != job)
        gone = len(kept) < len(self._waiting)
        self._waiting = kept
        return gone

    def next_through(self) -> tuple[float, str] | None:
        """When the next one is through, and which; None where nothing runs."""
        if not self._running:
            return None
        job = min(self._running, key=self._running.__getitem__)
        return self._at + self._running[job] * self.pace.token_s(len(self._running)), job

    def expect(self, now: float, tokens: float) -> float:
        """Seconds until a request of so many tokens would be through if it came now."""
        self._advance(now)
        if len(self._running) < self.pace.rows:
            return self._alone(tokens, self._running.values())
        return self._behind(tokens)

    def foresee(self, now: float, job: str, tokens: float, *, comes_at: float) -> dict[str, float]:
        """When each would be through if this one had its place from now on and came at that time.

        Who should have come before now is taken to come now.
        """
        self._advance(now)
        left = {**self._running, **dict(self._waiting), job: tokens}
        # Reckoned from now on: a clock's large numbers leave no room for the small steps.
        starts = {one: max(0.0, at - now) for one, at in self._coming.items()}
        starts[job] = max(0.0, comes_at - now)
        line = list(left)  # who runs, who waits, and this one behind them
        rows, line = line[: self.pace.rows], line[self.pace.rows :]
        at, through = 0.0, dict[str, float]()
        while rows:
            writing = [one for one in rows if starts.get(one, 0.0) <= at]
            token_s = self.pace.token_s(len(writing))
            ends = at + token_s * min((left[one] for one in writing), default=inf)
            until = min(ends, *(starts[one] for one in rows if starts.get(one, 0.0) > at), inf)
            for one in writing:
                left[one] -= (until - at) / token_s
            at = until
            for one in [one for one in writing if left[one] <= _NOTHING]:
                through[one] = now + at
                rows.remove(one)
                if line:
                    rows.append(line.pop(0))
        return through

    def _alone(self, tokens: float, others: Iterable[float]) -> float:
        """It starts at once; each other one slows it down for as long as it is there."""
        shared = sum(min(left, tokens) for left in others)
        return self.pace.step_s * tokens + self.pace.row_s * (tokens + shared)

    def _behind(self, tokens: float) -> float:
        """It waits until those before it have left enough rows."""
        rows, full_s = self.pace.rows, self.pace.token_s(self.pace.rows)
        ends = list(self._running.values())  # in tokens written by each row from now on
        heapq.heapify(ends)
        for _, ahead in self._waiting:
            heapq.heapreplace(ends, ends[0] + ahead)
        starts = heapq.heappop(ends)
        assert len(ends) == rows - 1
        return starts * full_s + self._alone(tokens, (end - starts for end in ends))

    def _advance(self, now: float) -> None:
        """Write until `now`. Who is through no longer writes but keeps its row."""
        if now <= self._at:
            return
        if writing := [job for job in self._running if job not in self._coming]:
            written = (now - self._at) / self.pace.token_s(len(writing))
            for job in writing:
                self._running[job] = max(0.0, self._running[job] - written)
        self._at = now

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self.pace.rows:
            job, tokens = self._waiting.popleft()
            self._running[job] = tokens
