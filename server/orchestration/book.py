"""The cloud's book: what sites advertise, how fast workers write, what has been promised to whom.

Admission itself is fl/orchestration/admission.py; here it gets a clock, a lock, and what the engine
shows it of the requests that really came.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic

from fl.errors import GenerationError
from fl.generation import Reply
from fl.network.rules import Rules, worker_share
from fl.orchestration.admission import Admission, Verdict, Wanted
from fl.orchestration.batch_server import Pace
from fl.orchestration.occupancy import Occupancy, Stay
from fl.orchestration.pace_meter import PaceMeter
from fl.orchestration.running_mean import RunningMean
from fl.settings import Settings
from server.generation.workers.placing import WorkerState
from server.orchestration.adverts import Advert, Adverts
from server.orchestration.cells import Cells
from server.orchestration.denied import check_allowed
from server.orchestration.entries import Announced, WorkerNow
from server.orchestration.forecast_share import kept_for_forecasts

_WHOLE = ("stop", "length")  # how an answer ends that nobody broke off


@dataclass(frozen=True)
class _Run:
    """A request at its worker."""

    worker: str
    stay: Stay
    written: int  # tokens of its answer that others wrote before


@dataclass(frozen=True)
class _Worker:
    """A worker's process, for as long as it lives, whether it answers just now or not."""

    meter: PaceMeter
    restarts: int
    requests: Occupancy = field(default_factory=Occupancy)


class Book:
    """One cloud's. For any thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Callable[[], float] = monotonic,
        rules: Callable[[], Rules] = Rules,
    ) -> None:
        """`rules` looks up what management has set."""
        its = settings.orchestration
        self._forecast_share = its.forecast_share
        self.rules, self._rules = rules, Rules()
        self._clock, self._lock = clock, Lock()
        self._admission = Admission(its.admission, slack=its.slack)
        self._cells = Cells(self._admission.link)
        self.policy = its.admission
        self.belief = Pace(  # of a worker that has shown nothing yet
            step_s=its.step_ms / 1000, row_s=its.row_ms / 1000, rows=settings.engine.batch
        )
        self._workers: dict[str, _Worker] = {}
        self._runs: dict[str, _Run] = {}
        self._held: dict[str, str] = {}  # request -> its worker, which does not answer just now
        self._adverts = Adverts()
        self._tokens = RunningMean(0.75 * settings.asking.answer_tokens)  # of an answer
        self._lapses: dict[str, float] = {}  # a promise -> when nobody will come for it any more
        self.decided = {"cloud": 0, "edge": 0, "shed": 0}

    def staff(self, workers: Sequence[WorkerState]) -> None:
        """These workers there are, and no others.

        One that does not answer just now gets nothing new and keeps what it had; one that has gone,
        or was started again, leaves it.
        """
        with self._lock:
            for name in self._workers.keys() - {worker.name for worker in workers}:
                self._dismiss(name)
            self._take_on(workers)
            for worker in workers:
                if not worker.up:
                    self._held |= dict.fromkeys(self._admission.lose(worker.name), worker.name)

    def advertise(self, advert: Advert) -> None:
        """A site's newest advert. Raises GenerationError where there are too many sites."""
        with self._lock:
            self._adverts.put(self._clock(), advert)
            self._cells.put(advert.site_id, advert.cell, advert.link)

    def admit(self, announced: Announced) -> Verdict:
        """Promise a request its place, or say that there is none for it.

        Who asks again is decided anew; what he was promised before is free first. Raises
        GenerationError where the request is at work already, or its site is denied the cloud.
        """
        check_allowed(self.rules(), announced.site_id)
        with self._lock:
            now = self._clock()
            self._lapse(now)
            if announced.request_id in self._runs:  # its place is in use: nobody else's to free
                raise GenerationError("This request is here already.", status="ALREADY_EXISTS")
            self._free(now, announced.request_id)
            self._obey()
            link = self._cells.link_of(announced.site_id, announced.cell)
            if announced.rtt_s is not None:
                self._admission.round_trip(link, announced.rtt_s)
            verdict = self._admission.admit(
                now,
                Wanted(
                    request_id=announced.request_id,
                    link=link,
                    deadline_s=announced.deadline_s,
                    bytes_up=announced.bytes_up,
                    bytes_down=announced.bytes_down,
                    tokens=self._tokens.value,
                    ready_s=announced.ready_s,
                    own_s=announced.own_s,
                    share=worker_share(self._rules, announced.site_id)
                    * (1.0 - self._kept(now, announced)),
                ),
            )
            if verdict.place == "cloud":
                self._lapses[announced.request_id] = now + announced.deadline_s
            self.decided[verdict.place] += 1
            return verdict

    def release(self, request_id: str) -> None:
        """Nobody will come for this promise."""
        with self._lock:
            if request_id not in self._runs:
                self._free(self._clock(), request_id)

    def come(
        self, request_id: str, among: Sequence[WorkerState], *, written: int = 0
    ) -> str | None:
        """A request is here, announced or not: its worker of `among`; None where that is empty.

        It may come again, to another worker, where its own has gone; `written` tokens of its answer
        are there already then.
        """
        with self._lock:
            now = self._clock()
            self._take_on(among)
            self._lapses.pop(request_id, None)
            self._held.pop(request_id, None)
            self._leave(now, request_id)
            names = [worker.name for worker in among]
            tokens = max(1.0, self._tokens.value - written)
            name = self._admission.come(now, request_id, tokens, among=names)
            if name is not None:
                stay = self._workers[name].requests.enter(now)
                self._runs[request_id] = _Run(name, stay, written)
            return name

    def end(self, request_id: str, reply: Reply | None) -> None:
        """A request has left its worker; `reply` where it was answered.

        An answer that was broken off says neither how long answers are nor how long they take.
        """
        with self._lock:
            now = self._clock()
            self._free(now, request_id)
            left = self._leave(now, request_id)
            if reply is None or reply.finish_reason not in _WHOLE or left is None:
                return
            run, together = left
            worker = self._workers[run.worker]
            worker.meter.learn(
                tokens=reply.completion_tokens - run.written,  # the seconds are of this worker
                seconds=reply.prefill_seconds + reply.decode_seconds,
                together=min(together, self.belief.rows),  # others wait in the worker's own line
            )
            if run.worker in self._admission.workers:
                self._admission.worker(run.worker, worker.meter.pace)
            if reply.completion_tokens:
                self._tokens.add(reply.completion_tokens)

    def adverts(self) -> list[tuple[float, Advert]]:
        """Every site's newest advert and its age in seconds, by name."""
        with self._lock:
            return self._adverts.all(self._clock())

    def workers(self) -> list[WorkerNow]:
        """Every worker, by name."""
        with self._lock:
            promised, held = self._admission.workers, Counter(self._held.values())
            return [
                WorkerNow(
                    name=name,
                    promised=promised.get(name, held[name]),
                    pace=worker.meter.pace,
                )
                for name, worker in sorted(self._workers.items())
            ]

    def _obey(self) -> None:
        """Follow what management has set since; what is promised stays promised."""
        self._rules = self.rules()
        self._cells.obey(self._rules)

    def _kept(self, now: float, announced: Announced) -> float:
        """Share of workers' time that is kept for what other sites forecast."""
        return kept_for_forecasts(
            announced,
            most=self._forecast_share,
            tokens=self._tokens.value,
            paces=[its.meter.pace for its in self._workers.values()] or [self.belief],
            adverts=[advert for _, advert in self._adverts.all(now)]
            if self._forecast_share
            else (),
        )

    def _take_on(self, workers: Sequence[WorkerState]) -> None:
        """Know them all, and let admission know those that answer."""
        for seen in workers:
            known = self._workers.get(seen.name)
            if known is not None and seen.restarts > known.restarts:
                self._dismiss(seen.name)  # another process, to which nobody went yet
                known = None
            if known is None:
                known = _Worker(PaceMeter(self.belief), seen.restarts)
                self._workers[seen.name] = known
            if seen.up and seen.name not in self._admission.workers:
                self._admission.worker(seen.name, known.meter.pace)
                self._give_back(seen.name)

    def _give_back(self, name: str) -> None:
        """A worker answers again, with what it had: as far as is known, its requests went on."""
        for request_id in [one for one, holder in self._held.items() if holder == name]:
            del self._held[request_id]
            self._admission.come(self._clock(), request_id, self._tokens.value, among=(name,))

    def _dismiss(self, name: str) -> None:
        """A worker's process has gone, and what it had with it."""
        del self._workers[name]
        self._admission.lose(name)
        self._held = {one: holder for one, holder in self._held.items() if holder != name}
        self._runs = {one: run for one, run in self._runs.items() if run.worker != name}

    def _leave(self, now: float, request_id: str) -> tuple[_Run, float] | None:
        """Where a request was, and with how many others on average; None where it was nowhere."""
        run = self._runs.pop(request_id, None)
        worker = self._workers.get(run.worker) if run else None
        if run is None or worker is None:
            return None
        return run, worker.requests.leave(now, run.stay)

    def _free(self, now: float, request_id: str) -> None:
        """What was promised to a request is free."""
        self._lapses.pop(request_id, None)
        self._held.pop(request_id, None)
        self._admission.end(now, request_id)

    def _lapse(self, now: float) -> None:
        for request_id in [one for one, until in self._lapses.items() if until <= now]:
            self._free(now, request_id)


def named(site_id: str, request_id: str) -> str:
    """A request's name in the book: no site, whose name has no "/", can speak of another one's."""
    return f"{site_id}/{request_id}"
