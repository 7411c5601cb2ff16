"""A model that writes in turns, as a fluid: who comes while it writes waits for the next turn.

A step writes a token of every text of the turn that has not ended, and all texts of a turn are
there when its longest is. That is how an edge service's model writes (edge_service/model_owner.py).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from fl.orchestration.batch_server import Pace


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A turn that has been written, as measured."""

    seconds: float
    steps: int  # tokens of its longest text
    tokens: int  # of all its texts


class TurnServer:
    """One model and its texts. Times are seconds of any one clock."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self._turn: dict[str, bool] = {}  # text of this turn -> does somebody still want it?
        self._waiting: dict[str, float] = {}  # text -> tokens, in the order they came
        self.ends_at = inf  # of the turn; inf where none is on

    def __len__(self) -> int:
        return len(self._turn) + len(self._waiting)

    def put(self, now: float, job: str, tokens: float) -> None:
        """A text is to be written."""
        self._forget(now)
        self._waiting[job] = tokens
        if self.ends_at == inf:
            self._begin(now)

    def drop(self, job: str) -> None:
        """Nobody wants it any longer: it leaves the queue, or its row goes on for nobody."""
        if job in self._turn:
            self._turn[job] = False
        self._waiting.pop(job, None)

    def turn_over(self, now: float) -> list[str]:
        """The turn has ended: its texts that are wanted. Who waits begins, before they are told."""
        through = [job for job, wanted in self._turn.items() if wanted]
        self._begin(now)
        return through

    def expect(self, now: float, tokens: float) -> float:
        """Seconds until a text of so many tokens would be there if it came now."""
        self._forget(now)
        if self.ends_at == inf:
            return self._takes([tokens])
        waiting, rows = list(self._waiting.values()), self.pace.rows
        turns = [waiting[at : at + rows] for at in range(0, len(waiting) + 1, rows)]
        turns[-1].append(tokens)
        return max(0.0, self.ends_at - now) + sum(self._takes(turn) for turn in turns)

    def expect_both(self, now: float, first: float, then: float) -> float:
        """Seconds until two texts would be there, the second begun when the first is there.

        Where others are at work, one more turn of theirs comes between the two.
        """
        self._forget(now)
        between = self._takes([first]) if self.ends_at < inf else 0.0
        return self.expect(now, first) + between + self._takes([then])

    def _forget(self, now: float) -> None:
        """A turn that nobody wants, and whose end nobody told, has ended when it should."""
        if self.ends_at < now and not any(self._turn.values()):
            self._begin(now)

    def _begin(self, now: float) -> None:
        taken = list(self._waiting)[: self.pace.rows]
        tokens = [self._waiting.pop(job) for job in taken]
        self._turn = dict.fromkeys(taken, True)
        self.ends_at = now + self._takes(tokens) if taken else inf

    def _takes(self, tokens: Iterable[float]) -> float:
        """Seconds of a turn of texts with so many tokens."""
        lengths = list(tokens)
        return self.pace.step_s * max(lengths) + self.pace.row_s * sum(lengths)
