"""Several workers as one engine.

A request's life:
1. submit counts it (or refuses it at once) and places it: `place` chooses among the workers that
   are up;
2. on a thread of its own it is sent to that worker, whose stream is delivered piece by piece;
3. a worker that goes away meanwhile is left, and another one goes on from the last piece (job.py);
   where none is up, it waits for one, engine.timeout_s seconds at the most;
4. a worker without room for it is left for another; it is refused where none has;
5. the worker's reply, its refusal or a cancellation ends it with one event.
"""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic, perf_counter
from typing import TYPE_CHECKING

from fl.errors import GenerationError
from fl.generation import GenerationRequest
from fl.settings import EngineSettings, ServiceSettings
from server.generation.engine import Deliver, Event, Load
from server.generation.internal_error import internal_error
from server.generation.workers.job import WorkerJob
from server.generation.workers.placing import Place, WorkerState, least_wait
from server.generation.workers.watch import Watch
from server.generation.workers.worker import Line, Worker, WorkerLost

if TYPE_CHECKING:
    from server.generation.loading import LanguageModel

log = logging.getLogger(__name__)

MOST_DEATHS = 5  # of workers that had begun with a request: it may be what kills them


@dataclass(frozen=True, kw_only=True)
class _Ticket:
    pool: "WorkerPool"
    job: WorkerJob = field(repr=False)
    release: str

    def cancel(self) -> None:
        self.pool._cancel(self.job)


class WorkerPool:
    """Answers as many requests at a time as service.queue allows, each by one of the workers."""

    def __init__(
        self,
        watch: Watch,
        engine: EngineSettings,
        service: ServiceSettings,
        *,
        place: Place = least_wait,
    ) -> None:
        """`watch` has found its workers; it is started here and closed with the pool."""
        self._watch, self._engine, self._service, self._place = watch, engine, service, place
        self._changed = watch.changed  # guards workers, jobs and closing
        self._workers: Sequence[Worker] = watch.workers
        self._model = watch.model
        self._jobs: set[WorkerJob] = set()
        self._closing = False
        self._threads = ThreadPoolExecutor(service.queue, thread_name_prefix="generation")
        watch.start()

    @property
    def model_name(self) -> str:
        return self._model.model_name

    @property
    def model_fingerprint(self) -> str:
        return self._model.model_fingerprint

    @property
    def release(self) -> str:
        """Of the first worker that is up; the others follow within a second."""
        up = [worker for worker in self.workers if worker.up]
        return up[0].release if up else self._model.release

    @property
    def alive(self) -> bool:
        """Also while all workers are away: they are started again."""
        return self._watch.alive

    @property
    def workers(self) -> Sequence[WorkerState]:
        """What is known of each, those that are away included."""
        with self._changed:
            return [worker.state for worker in self._workers]

    @property
    def load(self) -> Load:
        """Requests as counted here, tokens as the workers said last; all of them together."""
        with self._changed:
            running = sum(job.begun for job in self._jobs)
            said = [worker.about for worker in self._workers if worker.about is not None]
            return Load(
                running=running,
                waiting=len(self._jobs) - running,
                waiting_tokens=sum(about.waiting_tokens for about in said),
                cache_tokens=sum(about.cache_tokens for about in said),
                cache_limit=sum(about.cache_limit for about in said),
            )

    def submit(self, request: GenerationRequest, deliver: Deliver) -> _Ticket:
        """Accept a request or refuse it at once; see Engine."""
        job = WorkerJob(
            request=request,
            most_new=request.max_new_tokens or self._service.max_new_tokens,
            deliver=deliver,
            submitted_at=perf_counter(),
            token_ids=request.written,
        )
        with self._changed:
            self._admit()
            placed = self._placed(job)
            release = placed[0].state.release if placed else self._model.release
            self._jobs.add(job)
            self._threads.submit(self._run, job, placed)
        return _Ticket(pool=self, job=job, release=release)

    def language_model(self) -> "LanguageModel":
        """Refused: the model is in other processes."""
        raise GenerationError(
            "mode=split needs the cloud's model in the service itself (engine.kind=embedded).",
            status="UNIMPLEMENTED",
        )

    def close(self) -> None:
        """Cancel what runs, wait for its end, and end the workers. Safe to repeat."""
        with self._changed:
            self._closing = True
            jobs = list(self._jobs)
        for job in jobs:
            self._cancel(job)
        self._threads.shutdown()
        self._watch.close()

    def _admit(self) -> None:
        if self._closing:
            raise GenerationError("The cloud is shutting down.", status="UNAVAILABLE")
        if len(self._jobs) >= self._service.queue:
            raise GenerationError(
                f"The cloud is busy: {len(self._jobs)} requests are waiting or running, "
                f"service.queue allows {self._service.queue}. Try again later.",
                status="RESOURCE_EXHAUSTED",
            )

    def _cancel(self, job: WorkerJob) -> None:
        job.cancel()
        with self._changed:
            self._changed.notify_all()  # it may be waiting for a worker

    # --- on the thread of a request ---

    def _run(self, job: WorkerJob, placed: "_Placed | None") -> None:
        """From acceptance to the one terminal event."""
        try:
            event = self._answered(job, placed)
        except GenerationError as error:
            event = error
        except Exception as error:  # noqa: BLE001 - a mistake of ours ends one request
            event = internal_error(error, log)
        with self._changed:
            self._jobs.discard(job)
        job.deliver(event)

    def _answered(self, job: WorkerJob, placed: "_Placed | None") -> Event:
        """Try workers until one has answered. Raises GenerationError."""
        full: GenerationError | None = None  # what the last one without room said
        while (placed := placed or self._next(job, full)) is not None:
            worker, line = placed
            try:
                job.call = line.generate(job.what_is_left)
                if job.cancelled:
                    job.call.cancel()
                return job.answer(job.call)
            except WorkerLost:
                self._lost(job, worker, line)
            except GenerationError as error:
                if error.status != "RESOURCE_EXHAUSTED":
                    raise
                full = error
                job.busy.add(worker.name)
            finally:
                if job.call is not None:
                    job.call.cancel()  # it may not have been read to its end
                job.call = placed = None
                with self._changed:
                    worker.leave(job)
        return job.given_up(self.model_fingerprint)

    def _next(self, job: WorkerJob, full: GenerationError | None) -> "_Placed | None":
        """Wait for a worker that could answer; None where the request was given up.

        Raises GenerationError: `full` where nobody has room, UNAVAILABLE where nobody came back.
        """
        until = monotonic() + self._engine.timeout_s
        with self._changed:
            while not job.cancelled:
                if (placed := self._placed(job)) is not None:
                    return placed
                if full is not None and any(worker.ready for worker in self._workers):
                    raise full
                if not self._changed.wait(until - monotonic()):
                    raise GenerationError(
                        f"No worker could answer within {self._engine.timeout_s:g} s "
                        "(engine.timeout_s). Try again later.",
                        status="UNAVAILABLE",
                    )
        return None

    def _placed(self, job: WorkerJob) -> "_Placed | None":
        """Give a request to a worker, if one is up. The caller holds the lock."""
        up = {w.name: w for w in self._workers if w.ready and w.name not in job.busy}
        if not up:
            return None
        chosen = self._place(job.what_is_left, [worker.state for worker in up.values()])
        worker = up[chosen.name]
        assert worker.line is not None, "a worker that is ready has a line"
        worker.take(job)
        return worker, worker.line

    def _lost(self, job: WorkerJob, worker: Worker, line: Line) -> None:
        """A worker went away with a request. Raises GenerationError after too many of them."""
        if job.cancelled:
            return
        with self._changed:
            worker.lost += 1
            if worker.line is line:
                worker.ready = False  # until it is seen to answer
        job.deaths += job.call is not None and job.call.started
        if job.deaths >= MOST_DEATHS:
            raise GenerationError(
                f"Given up: {job.deaths} workers died while they answered this request.",
                status="UNAVAILABLE",
            )


_Placed = tuple[Worker, Line]
