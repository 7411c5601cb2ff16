"""The requests that run, by the model that answers them: who joins, a step of each, who is done."""

import logging
import traceback
import uuid
from dataclasses import dataclass, field
from time import perf_counter, process_time

from fl.errors import GenerationError
from fl.settings import EngineSettings
from server.generation.batch import Batch
from server.generation.job import Job
from server.generation.loading import LanguageModel
from server.generation.sampling import next_tokens
from server.generation.waiting_line import WaitingLine

log = logging.getLogger(__name__)

Ending = tuple[Job, str | GenerationError]  # the reason, or what went wrong


@dataclass(eq=False)
class _Served:
    """A model and the requests that run on it."""

    model: LanguageModel
    batch: Batch
    jobs: list[Job] = field(default_factory=list)

    def leave(self, job: Job) -> None:
        assert job.row is not None
        self.jobs.remove(job)
        self.batch.leave(job.row)


class Running:
    """Used by the engine's thread alone, in torch's inference mode; the numbers by anyone."""

    def __init__(self, engine: EngineSettings) -> None:
        self._engine = engine
        self._served: list[_Served] = []  # more than one while an older model's requests finish

    @property
    def jobs(self) -> list[Job]:
        """All that run."""
        return [job for served in self._served for job in served.jobs]

    @property
    def cache_tokens(self) -> int:
        """Tokens of the key/value cache that they take, at their longest."""
        return sum(served.batch.tokens for served in self._served)

    def drop_cancelled(self) -> list[Job]:
        """Take out who gave up. Between two steps, before others join."""
        dropped = []
        for served in self._served:
            for job in [job for job in served.jobs if job.cancelled]:
                served.leave(job)
                dropped.append(job)
        self._served = [served for served in self._served if served.jobs]
        return dropped

    def take_in(self, line: WaitingLine) -> None:
        """Let the first in line join, as many as fit."""
        while (job := line.take(self._fits)) is not None:
            served = self._served_by(job.model)
            if not served.jobs:
                self._served = [*self._served, served]
            job.taken_at = perf_counter()
            job.row = served.batch.join(job.reading, need=job.need)
            served.jobs.append(job)

    def step(self) -> list[Ending]:
        """A token for everyone whose prompt is read. One model's failure ends only its requests."""
        endings: list[Ending] = []
        for served in self._served:
            try:
                endings += self._step(served)
            except Exception as error:  # noqa: BLE001 - one bad batch must not end the service
                failure = _failure(error)
                endings += [(job, failure) for job in served.jobs]
                served.jobs.clear()
        self._served = [served for served in self._served if served.jobs]
        return endings

    def _step(self, served: _Served) -> list[Ending]:
        began = process_time()
        rows, logits_RV = served.batch.step()
        by_row = {job.row: job for job in served.jobs}
        jobs = [by_row[row] for row in rows]
        chosen = next_tokens(logits_RV, [job.sampler for job in jobs])
        now = perf_counter()
        share = (process_time() - began) / len(served.jobs)
        for job in served.jobs:
            job.cpu_seconds += share
        endings: list[Ending] = []
        for job, row, token in zip(jobs, rows, chosen, strict=True):
            job.first_at = job.first_at or now
            row.newest = token
            if (reason := job.advance(token)) is not None:
                served.leave(job)
                endings.append((job, reason))
        return endings

    def _fits(self, job: Job) -> bool:
        served = self._served_by(job.model)
        elsewhere = sum(s.batch.tokens for s in self._served if s is not served)
        return len(self.jobs) < self._engine.batch and served.batch.fits(
            job.need, elsewhere=elsewhere
        )

    def _served_by(self, model: LanguageModel) -> _Served:
        for served in self._served:
            if served.model is model:
                return served
        engine = self._engine
        batch = Batch(
            model.network,
            most_rows=engine.batch,
            most_tokens=engine.cache_tokens,
            most_read=engine.step_tokens,
        )
        return _Served(model, batch)


def _failure(error: Exception) -> GenerationError:
    """What callers get to know; the log gets no message either, for it might quote a prompt."""
    error_id = uuid.uuid4().hex[:12]
    frames = "".join(traceback.format_tb(error.__traceback__))
    log.error("error %s: a batch failed with %s\n%s", error_id, type(error).__name__, frames)
    return GenerationError(f"The cloud failed; error {error_id}.", status="INTERNAL")
