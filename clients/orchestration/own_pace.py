"""How long the site's own model will take, from what it was given and how it wrote before.

Enriching, and answering after that, are promised to the cloud in seconds when a request asks to be
admitted; here is where the seconds come from.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from threading import Lock
from time import monotonic

from fl.orchestration.batch_server import Pace
from fl.orchestration.pace_meter import PaceMeter
from fl.orchestration.running_mean import RunningMean
from fl.orchestration.turn_server import Turn, TurnServer
from fl.settings import Settings


class Work:
    """One text that is being written; tell what came of it."""

    def __init__(self) -> None:
        self.tokens = 0  # written; 0 where nothing was


class OwnPace:
    """Of one edge model, for all its sites. For any thread."""

    def __init__(
        self, settings: Settings, *, rows: int, clock: Callable[[], float] = monotonic
    ) -> None:
        """`rows` texts are written together at the most."""
        asking, its = settings.asking, settings.orchestration
        self._clock, self._lock, self._names = clock, Lock(), count()
        belief = Pace(step_s=its.step_ms / 1000, row_s=its.row_ms / 1000, rows=rows)
        self._meter, self._server = PaceMeter(belief), TurnServer(belief)
        # Until texts show it: most are shorter than they may be.
        self._enriched = RunningMean(0.75 * asking.enriched_tokens)
        self._answer = RunningMean(0.75 * asking.answer_tokens)

    @property
    def pace(self) -> Pace:
        """How fast it writes, as far as is known."""
        return self._meter.pace

    def ready_s(self) -> float:
        """Seconds until a short prompt that comes now is enriched."""
        with self._lock:
            return self._server.expect(self._clock(), self._enriched.value)

    def own_s(self) -> float:
        """Seconds until it is enriched and answered, here."""
        with self._lock:
            enriched, answer = self._enriched.value, self._answer.value
            return self._server.expect_both(self._clock(), enriched, answer)

    def answer_s(self) -> float:
        """Seconds until a prompt that is enriched now is answered, here."""
        with self._lock:
            return self._server.expect(self._clock(), self._answer.value)

    def turn_over(self, turn: Turn) -> None:
        """The model has written a turn, whoever's texts they were."""
        with self._lock:
            steps = turn.steps
            self._meter.learn(tokens=steps, seconds=turn.seconds, together=turn.tokens / steps)
            self._server.pace = self._meter.pace
            self._server.turn_over(self._clock())

    @contextmanager
    def enriching(self) -> Iterator[Work]:
        """A prompt is being enriched, for the block."""
        with self._writing(self._enriched) as work:
            yield work

    @contextmanager
    def answering(self) -> Iterator[Work]:
        """An answer is being written, for the block."""
        with self._writing(self._answer) as work:
            yield work

    @contextmanager
    def _writing(self, usual: RunningMean) -> Iterator[Work]:
        work, name = Work(), str(next(self._names))
        with self._lock:
            self._server.put(self._clock(), name, usual.value)
        try:
            yield work
        finally:
            with self._lock:
                self._server.drop(name)
                if work.tokens:
                    usual.add(work.tokens)
