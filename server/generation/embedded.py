"""The engine in this process: a bounded queue and one thread that owns the model.

A request's life:
1. submit counts it (or refuses it at once), tokenises it, and refuses what is too long;
2. it waits until a row and room in the cache are free;
3. its prompt is read while others are being written, at most engine.step_tokens tokens a step;
4. each step gives it one token, streamed as text;
5. an end mark, a stop string, the wanted length or a cancellation ends it with one Reply, and its
   row is free for the next step.

Another model can be put into use at any time: requests that came before finish on theirs.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from time import perf_counter, sleep

import torch

from fl.errors import GenerationError
from fl.generation import GenerationRequest
from fl.settings import EngineSettings, ServiceSettings
from fl.text_stream import TextStream
from server.generation.engine import Deliver, Load
from server.generation.job import Job
from server.generation.loading import LanguageModel
from server.generation.request_limits import check_written, most_new_tokens, prompt_ids
from server.generation.running import Running
from server.generation.sampling import Sampler
from server.generation.waiting_line import WaitingLine


@dataclass(frozen=True, kw_only=True)
class _Ticket:
    engine: "EmbeddedEngine"
    job: Job = field(repr=False)

    @property
    def release(self) -> str:
        return self.job.model.release

    def cancel(self) -> None:
        self.engine._cancel(self.job)


class EmbeddedEngine:
    """Answers up to `engine.batch` requests at a time with a model in this process."""

    def __init__(
        self, model: LanguageModel, engine: EngineSettings, service: ServiceSettings
    ) -> None:
        self._engine, self._service = engine, service
        self._changed = threading.Condition()  # an RLock; guards the line, model and closing
        self._line = WaitingLine(most_requests=service.queue, most_tokens=service.queue_tokens)
        self._model = model  # of requests to come
        self._running = Running(engine)
        self._closing = False
        self._also_close: list[Callable[[], None]] = []
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def model_name(self) -> str:
        return self._model.name

    @property
    def model_fingerprint(self) -> str:
        return self._model.fingerprint

    @property
    def release(self) -> str:
        return self._model.release

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    @property
    def load(self) -> Load:
        with self._changed:
            return Load(
                running=len(self._running.jobs),
                waiting=len(self._line),
                waiting_tokens=self._line.tokens,
                cache_tokens=self._running.cache_tokens,
                cache_limit=self._engine.cache_tokens,
            )

    def language_model(self) -> LanguageModel:
        """What new requests are answered with."""
        return self._model

    def swap(self, model: LanguageModel) -> None:
        """Answer requests from now on with this model."""
        with self._changed:
            self._model = model

    def on_close(self, close: Callable[[], None]) -> None:
        """Also end this when the engine ends."""
        self._also_close.append(close)

    def submit(self, request: GenerationRequest, deliver: Deliver) -> _Ticket:
        """Accept a request or refuse it at once; see Engine."""
        submitted_at = perf_counter()
        with self._changed:
            self._refuse_when_closing()
            self._line.enter()
            model = self._model
        try:
            ids = prompt_ids(request, model, self._service)
            most_new = most_new_tokens(request, len(ids), model, self._service, self._engine)
            check_written(request, model, most_new)
            job = Job(
                request=request,
                model=model,
                prompt_ids=ids,
                most_new=most_new,
                deliver=deliver,
                text=TextStream(model.tokens.decode, stop=request.stop, strip=not request.plain),
                sampler=Sampler(request),
                submitted_at=submitted_at,
            )
            ended = job.take_up()
            with self._changed:
                self._refuse_when_closing()
                if ended is None:
                    self._line.put(job)
                    self._changed.notify()
        except BaseException:
            with self._changed:
                self._line.exit()
            raise
        if ended is not None:  # only its end was missing
            self._end(job, ended)
        return _Ticket(engine=self, job=job)

    def close(self) -> None:
        """Cancel what runs, refuse what waits, and wait for the thread to end."""
        for close in self._also_close:
            close()
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()

    def _cancel(self, job: Job) -> None:
        with self._changed:
            job.cancelled = True
            waited = self._line.remove(job)
        if waited:
            self._end(job, "cancelled")

    def _refuse_when_closing(self) -> None:
        if self._closing or not self._thread.is_alive():
            raise _closing_error()

    # --- on the thread that owns the models ---

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                while self._wait():
                    least_at = perf_counter() + self._least_s(len(self._running.jobs))
                    for job, how in self._running.step():
                        self._end(job, how)
                    sleep(max(0.0, least_at - perf_counter()))
        finally:
            with self._changed:
                self._closing = True
                waiting = self._line.clear()
            for job in waiting:
                self._end(job, _closing_error())
            for job in self._running.jobs:
                if not job.ended:
                    self._end(job, "cancelled")

    def _wait(self) -> bool:
        """Take in who can join; wait while there is nothing to do; False when closing."""
        with self._changed:
            while not self._closing:
                for job in self._running.drop_cancelled():
                    self._end(job, "cancelled")
                self._running.take_in(self._line)
                if self._running.jobs:
                    return True
                self._changed.wait()
            return False

    def _least_s(self, rows: int) -> float:
        """Seconds that a step of so many requests takes at the least (engine.least_step_ms)."""
        return (self._engine.least_step_ms + self._engine.least_row_ms * rows) / 1000

    def _end(self, job: Job, how: str | GenerationError) -> None:
        """Once for every job."""
        with self._changed:
            self._line.exit()
        job.end(how)


def _closing_error() -> GenerationError:
    return GenerationError("The cloud is shutting down.", status="UNAVAILABLE")
