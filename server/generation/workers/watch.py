"""Looks after the workers: who is there, what they say of themselves, who is started again."""

import threading
from collections.abc import Callable
from time import monotonic

from fl.errors import GenerationError
from server.generation.workers.whereabouts import Whereabouts
from server.generation.workers.worker import About, Line, Worker, WorkerLost

LOOK_EVERY_S = 0.2

Say = Callable[[str], None]
OpenLine = Callable[[str], Line]  # of an address


class Watch:
    """`find` the workers, then `start` looking after them on a thread of its own, then `close`."""

    def __init__(
        self, whereabouts: Whereabouts, open_line: OpenLine, say: Say, *, silence_s: float
    ) -> None:
        """`say` gets a line for the operator when something is wrong with a worker, or again right.

        A worker that says nothing for `silence_s` seconds is taken for dead. Closing the watch ends
        what `whereabouts` started.
        """
        self.changed = threading.Condition()  # guards the workers; told when one is ready
        self.workers = tuple(Worker(name) for name in whereabouts.names)
        self._whereabouts, self._open_line, self._say = whereabouts, open_line, say
        self._silence_s = silence_s
        self._model: About | None = None  # of the first that answered; others must have the same
        self._trouble: dict[str, str] = {}  # what was last said of a worker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)

    @property
    def model(self) -> About:
        """What the workers answer with, once one was found."""
        assert self._model is not None, "find() comes first"
        return self._model

    @property
    def alive(self) -> bool:
        """Whether workers are looked after."""
        return self._thread.is_alive()

    def find(self, *, all_of_them: bool, within_s: float | None = None) -> None:
        """Return when the first worker is ready, or `all_of_them`.

        Raises GenerationError where one ends instead, or none is ready within `within_s` seconds.
        """
        until = None if within_s is None else monotonic() + within_s
        while not (all if all_of_them else any)(worker.ready for worker in self.workers):
            if troubles := self.look():
                name, how = next(iter(troubles.items()))
                raise GenerationError(f"{name} {how}", status="UNAVAILABLE")
            if until is not None and monotonic() > until:
                raise GenerationError(
                    f"No worker answers at {', '.join(w.name for w in self.workers)}. Start them "
                    "(./run.sh serve service.address=...), or say where they are "
                    "(engine.workers=[...]).",
                    status="UNAVAILABLE",
                )
            self._stop.wait(LOOK_EVERY_S)

    def start(self) -> None:
        """Look until `close`."""
        self._thread.start()

    def look(self) -> dict[str, str]:
        """Look once; workers whose process has ended since, and how."""
        ended = self._whereabouts.ended()
        for worker in self.workers:
            if worker.name in ended:
                self._gone(worker, f"{ended[worker.name]}; it is started again")
                worker.restarts += 1
            if worker.line is None:
                self._meet(worker)
            else:
                self._ask(worker, worker.line)
        return ended

    def close(self) -> None:
        """Stop looking, cut the lines and end what was started. Safe to repeat."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        with self.changed:
            for worker in self.workers:
                worker.down()
        self._whereabouts.close()

    def _run(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self.look()

    def _meet(self, worker: Worker) -> None:
        """Open a line to a worker that says where it is."""
        address = self._whereabouts.address(worker.name)
        if address is not None:
            line = self._open_line(address)
            with self.changed:
                worker.line, worker.heard_at = line, monotonic()

    def _ask(self, worker: Worker, line: Line) -> None:
        """Take what it says of itself; silence for too long is death."""
        try:
            about = line.look()
        except WorkerLost:
            about = None
            with self.changed:
                was_ready, worker.ready = worker.ready, False
            if was_ready:
                self._tell(worker, "does not answer")
        if about is not None:
            self._hear(worker, about)
        elif monotonic() - worker.heard_at > self._silence_s:
            killed = self._whereabouts.give_up(worker.name)
            self._gone(
                worker,
                f"has not answered for {self._silence_s:g} s{'; it is killed' if killed else ''}",
            )

    def _hear(self, worker: Worker, about: About) -> None:
        model = self._model = self._model or about
        same = about.model_fingerprint == model.model_fingerprint
        with self.changed:
            worker.heard_at, worker.about, worker.ready = monotonic(), about, same
            self.changed.notify_all()
        self._tell(
            worker,
            ""
            if same
            else f"has another model ({about.model_fingerprint[:12]}, not "
            f"{model.model_fingerprint[:12]}) and gets no requests",
        )

    def _gone(self, worker: Worker, how: str) -> None:
        with self.changed:
            worker.down()
        self._tell(worker, how)

    def _tell(self, worker: Worker, trouble: str) -> None:
        """Say what is wrong with a worker, or that it is right again: once, not at every look."""
        before = self._trouble.get(worker.name, "")
        if trouble != before:
            self._say(f"{worker.name} {trouble or 'answers again'}")
        self._trouble[worker.name] = trouble
