"""The engine in this process: a bounded queue and one thread that owns the model.

A request's life:
1. submit counts it (or refuses it at once), tokenises it, and refuses what is too long;
2. it waits;
3. the thread takes up to `service.batch` waiting requests and reads their prompts together;
4. each step gives every request of the batch one token, streamed as text;
5. an end mark, the wanted length or a cancellation ends it with one Reply, and frees its row.
"""

import logging
import os
import threading
import traceback
import uuid
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter

import torch

from fl.base_model import base_folder
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.prompt_format import cloud_prompt
from fl.settings import ServiceSettings, Settings
from server.generation.decoding import PaddedBatch, Sampler, next_tokens
from server.generation.engine import Deliver
from server.generation.loading import LanguageModel, load_language_model
from server.generation.text_stream import TextStream

log = logging.getLogger(__name__)


@dataclass(eq=False, kw_only=True, repr=False)  # no repr: a job holds a prompt
class _Job:
    """One accepted request. Times are perf_counter seconds."""

    request: GenerationRequest
    prompt_ids: list[int]
    deliver: Deliver
    text: TextStream
    sampler: Sampler
    submitted_at: float
    taken_at: float = 0.0  # 0 while waiting
    read_at: float = 0.0  # 0 until the prompt was read
    completion_tokens: int = 0
    cancelled: bool = False  # asked for; noticed at the next step
    ended: bool = False


@dataclass(frozen=True, kw_only=True)
class _Ticket:
    engine: "EmbeddedEngine"
    job: _Job = field(repr=False)

    def cancel(self) -> None:
        self.engine._cancel(self.job)


def open_engine(settings: Settings) -> "EmbeddedEngine":
    """Load the configured cloud model and start its engine. Takes seconds."""
    if settings.threads and not os.environ.get("OMP_NUM_THREADS"):
        torch.set_num_threads(settings.threads)
    model = load_language_model(base_folder(settings, "cloud"))
    return EmbeddedEngine(model, settings.service)


class EmbeddedEngine:
    """Answers up to `service.batch` requests at a time with a model in this process."""

    def __init__(self, model: LanguageModel, service: ServiceSettings) -> None:
        self._model = model
        self._service = service
        self._changed = threading.Condition()  # guards the three below
        self._waiting: deque[_Job] = deque()
        self._in_flight = 0  # waiting and running
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def model_fingerprint(self) -> str:
        return self._model.fingerprint

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, request: GenerationRequest, deliver: Deliver) -> _Ticket:
        """Accept a request or refuse it at once; see Engine."""
        submitted_at = perf_counter()
        self._admit()
        try:
            job = _Job(
                request=request,
                prompt_ids=self._prompt_ids(request),
                deliver=deliver,
                text=TextStream(self._model.tokens.decode),
                sampler=Sampler(request),
                submitted_at=submitted_at,
            )
        except BaseException:
            self._release()
            raise
        with self._changed:
            closing = self._closing
            if not closing:
                self._waiting.append(job)
                self._changed.notify()
        if closing:
            self._release()
            raise _closing_error()
        return _Ticket(engine=self, job=job)

    def close(self) -> None:
        """Cancel what runs, refuse what waits, and wait for the thread to end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    # Admission: counted before tokenising is paid for, so that a burst cannot slip through.

    def _admit(self) -> None:
        with self._changed:
            if self._closing or not self._thread.is_alive():
                raise _closing_error()
            if self._in_flight >= self._service.queue:
                raise GenerationError(
                    f"The cloud is busy: {self._in_flight} requests are waiting or running, "
                    f"service.queue allows {self._service.queue}. Try again later.",
                    status="RESOURCE_EXHAUSTED",
                )
            self._in_flight += 1

    def _release(self) -> None:
        with self._changed:
            self._in_flight -= 1

    def _prompt_ids(self, request: GenerationRequest) -> list[int]:
        """Token ids of the prompt as the model reads it; all limits are checked here."""
        ids = self._model.tokens.encode(cloud_prompt(request.prompt))
        prompt_limit = self._service.max_prompt_tokens
        room = self._model.positions - len(ids)
        answer_limit = min(self._service.max_new_tokens, max(room, 0))
        problems = []
        if len(ids) > prompt_limit:
            problems.append(f"the prompt has {len(ids)} tokens, the limit is {prompt_limit}")
        elif request.max_new_tokens > answer_limit:
            problems.append(
                f"max_new_tokens is {request.max_new_tokens}, at most {answer_limit} can be "
                f"written after a prompt of {len(ids)} tokens"
            )
        if max(ids) >= self._model.vocabulary:
            problems.append("the prompt holds a special token the model does not have")
        if problems:
            raise GenerationError(
                "Refused: " + "; ".join(problems) + ".", status="INVALID_ARGUMENT"
            )
        return ids

    def _cancel(self, job: _Job) -> None:
        with self._changed:
            job.cancelled = True
            waits = job in self._waiting
            if waits:
                self._waiting.remove(job)
        if waits:
            self._end(job, "cancelled")

    # The thread that owns the model.

    def _run(self) -> None:
        try:
            while jobs := self._take():
                try:
                    with torch.inference_mode():
                        self._answer(jobs)
                except Exception as error:  # noqa: BLE001 - one bad batch must not end the service
                    self._fail(jobs, error)
        finally:
            with self._changed:
                self._closing = True
                left = list(self._waiting)
                self._waiting.clear()
            for job in left:
                self._end_with_error(job, _closing_error())

    def _take(self) -> list[_Job]:
        """Wait for requests and take a batch of them; none when closing."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._closing:
                return []
            count = min(self._service.batch, len(self._waiting))
            jobs = [self._waiting.popleft() for _ in range(count)]
        taken_at = perf_counter()
        for job in jobs:
            job.taken_at = taken_at
        return jobs

    def _answer(self, jobs: Sequence[_Job]) -> None:
        """Decode a batch to its end."""
        batch = PaddedBatch(self._model.model, [job.prompt_ids for job in jobs])
        read_at = perf_counter()
        for job in jobs:
            job.read_at = read_at
        running = list(jobs)
        while True:
            chosen = next_tokens(batch.logits_BV, [job.sampler for job in running])
            rows = [row for row, job in enumerate(running) if self._advance(job, chosen[row])]
            if not rows:
                return
            if len(rows) < len(running):
                batch.keep(rows)
                running = [running[row] for row in rows]
            batch.extend([chosen[row] for row in rows])

    def _advance(self, job: _Job, token_id: int) -> bool:
        """Give a request its next token; False when that, or a cancellation, ended it."""
        if job.cancelled or self._closing:
            self._end(job, "cancelled")
        elif token_id in self._model.end_ids:
            self._end(job, "stop")
        else:
            job.completion_tokens += 1
            if piece := job.text.push(token_id):
                job.deliver(TextPiece(text=piece))
            if job.completion_tokens == job.request.max_new_tokens:
                self._end(job, "length")
        return not job.ended

    def _end(self, job: _Job, reason: str) -> None:
        """The one terminal event of a request, after any text that was held back."""
        job.ended = True
        self._release()
        if rest := job.text.finish():
            job.deliver(TextPiece(text=rest))
        now = perf_counter()
        taken_at = job.taken_at or now
        read_at = job.read_at or taken_at
        job.deliver(
            Reply(
                text=job.text.sent,
                finish_reason=reason,
                prompt_tokens=len(job.prompt_ids),
                completion_tokens=job.completion_tokens,
                queue_seconds=taken_at - job.submitted_at,
                prefill_seconds=read_at - taken_at,
                decode_seconds=now - read_at,
                model_fingerprint=self._model.fingerprint,
            )
        )

    def _end_with_error(self, job: _Job, error: GenerationError) -> None:
        job.ended = True
        self._release()
        job.deliver(error)

    def _fail(self, jobs: Sequence[_Job], error: Exception) -> None:
        """End what is left of a batch. The log gets no message: it might quote a prompt."""
        error_id = uuid.uuid4().hex[:12]
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("error %s: a batch failed with %s\n%s", error_id, type(error).__name__, frames)
        for job in jobs:
            if not job.ended:
                failed = GenerationError(f"The cloud failed; error {error_id}.", status="INTERNAL")
                self._end_with_error(job, failed)


def _closing_error() -> GenerationError:
    return GenerationError("The cloud is shutting down.", status="UNAVAILABLE")
