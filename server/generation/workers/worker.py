"""One worker as the pool knows it: the line to it, what it said of itself, what it has to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

from fl.generation import BASE, GenerationRequest, Reply, TextPiece
from server.generation.workers.placing import WorkerState
from server.generation.workers.speed import Speed


class WorkerLost(Exception):
    """A worker went away, or cannot be reached. Another one may answer."""


@dataclass(frozen=True, kw_only=True)
class About:
    """What a worker says of itself."""

    model_name: str
    model_fingerprint: str
    release: str
    waiting_tokens: int  # prompt tokens of those that wait
    cache_tokens: int  # in use
    cache_limit: int


class Call(Protocol):
    """A request on its way through a worker."""

    @property
    def started(self) -> bool:
        """Whether the worker has accepted it."""

    def __iter__(self) -> Iterator[TextPiece | Reply]:
        """Pieces, then one reply. Raises WorkerLost, or the worker's GenerationError."""

    def cancel(self) -> None:
        """Give it up: iterating then raises WorkerLost. Safe to repeat, from any thread."""


class Line(Protocol):
    """The way to a worker."""

    def generate(self, request: GenerationRequest) -> Call:
        """Send a request. Raises WorkerLost."""

    def look(self) -> About | None:
        """What the worker last said of itself, once, and ask again; None until it has answered.

        Raises WorkerLost where it cannot be asked.
        """

    def close(self) -> None:
        """Calls that still run end as lost."""


class Task(Protocol):
    """What a worker has to do."""

    @property
    def begun(self) -> bool:
        """Whether there is some text of the answer."""

    @property
    def tokens_written(self) -> int: ...

    @property
    def tokens_left(self) -> int:
        """Still to be written, at the most."""


class Worker:
    """Guarded by the pool's lock, lines excepted: these are for any thread."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.line: Line | None = None  # while there may be somebody at its end
        self.about: About | None = None  # of the newest process
        self.ready = False  # answers now
        self.heard_at = 0.0  # monotonic seconds
        self.restarts = 0
        self.lost = 0  # requests
        self._tasks: dict[Task, int] = {}  # tokens that were written before it came here
        self._speed = Speed()

    @property
    def state(self) -> WorkerState:
        """What is known of it now."""
        begun = sum(task.begun for task in self._tasks)
        return WorkerState(
            name=self.name,
            up=self.ready,
            running=begun,
            waiting=len(self._tasks) - begun,
            outstanding_tokens=sum(task.tokens_left for task in self._tasks),
            tokens_per_second=self._speed.tokens_per_second,
            release=self.about.release if self.about else BASE,
            restarts=self.restarts,
            lost=self.lost,
        )

    def take(self, task: Task) -> None:
        """It is to do this."""
        self._tasks[task] = task.tokens_written
        self._speed.begin(monotonic())

    def leave(self, task: Task) -> None:
        """It has done it, or will not."""
        before = self._tasks.pop(task)
        self._speed.end(monotonic(), task.tokens_written - before)

    def down(self) -> None:
        """Nobody is there: what it was asked ends as lost."""
        line, self.line, self.ready, self.about = self.line, None, False, None
        if line is not None:
            line.close()
