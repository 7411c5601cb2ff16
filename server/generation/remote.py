"""The engine elsewhere: any OpenAI-compatible server (vLLM, llama.cpp, SGLang) at engine.url.

A request's life:
1. submit counts it (or refuses it at once) and hands it to the loop of the engine's own thread;
2. a task there calls the server, which streams its answer; each event becomes a piece of text;
3. the end of the task, whatever ended it, makes the one terminal event. A cancelled task closes its
   connection at once, by which the server knows to stop.

Nobody here knows the server's tokens. So service.queue_tokens counts a token for every 4 characters
of the prompts that have no answer yet, and service.max_prompt_tokens refuses only what is too long
for certain; the server refuses the rest. A server that goes away ends the requests it had; when it
is back, the next ones are answered.
"""

import asyncio
import hashlib
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING

import httpx

from fl.errors import GenerationError
from fl.generation import BASE, GenerationRequest
from fl.settings import EngineSettings, ServiceSettings, Settings
from server.generation.engine import Deliver, Event, Load
from server.generation.internal_error import internal_error
from server.generation.remote_job import LONGEST_TOKEN, RemoteJob
from server.generation.remote_place import base_url, find_model, headers, timeout
from server.generation.remote_wire import (
    UpstreamFault,
    UpstreamModel,
    broken_off,
    request_body,
    unavailable,
)

if TYPE_CHECKING:
    from server.generation.loading import LanguageModel

log = logging.getLogger(__name__)

CHARACTERS = 4  # of a usual token


@dataclass(frozen=True, kw_only=True)
class _Ticket:
    engine: "RemoteEngine"
    job: RemoteJob = field(repr=False)

    @property
    def release(self) -> str:
        return BASE

    def cancel(self) -> None:
        with suppress(RuntimeError):  # the loop has ended, and the job with it
            self.engine._loop.call_soon_threadsafe(self.engine._cancel, self.job)


def open_engine(settings: Settings) -> "RemoteEngine":
    """Find the model at engine.url and start the engine.

    Raises SettingsError for a URL or key that cannot be one, GenerationError where nothing usable
    answers there, BaseModelError where it has no such model.
    """
    return RemoteEngine(find_model(settings.engine), settings.engine, settings.service)


class RemoteEngine:
    """Answers requests by asking a server; as many at a time as service.queue allows."""

    def __init__(
        self, model: UpstreamModel, engine: EngineSettings, service: ServiceSettings
    ) -> None:
        self._model, self._api, self._service = model, engine.api, service
        self._url = base_url(engine.url)
        self._client = httpx.AsyncClient(
            headers=headers(),
            timeout=timeout(engine),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,  # prompts go to engine.url, through no proxy of the environment
        )
        self._changed = threading.Lock()  # guards the four below
        self._in_flight = 0
        self._waiting = 0  # without any answer yet
        self._waiting_tokens = 0  # of theirs, by their characters
        self._closing = False
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._jobs: set[RemoteJob] = set()  # this and the next: of the loop's thread
        self._trouble = ""  # what was last told of the server
        self._thread = threading.Thread(target=self._run, name="generation", daemon=True)
        self._thread.start()

    @property
    def model_name(self) -> str:
        return self._model.name

    @property
    def model_fingerprint(self) -> str:
        return hashlib.sha256(f"{self._url}\n{self._model.name}".encode()).hexdigest()

    @property
    def release(self) -> str:
        return BASE

    @property
    def alive(self) -> bool:
        """Also while the server is away: it may come back."""
        return self._thread.is_alive()

    @property
    def load(self) -> Load:
        with self._changed:
            return Load(
                running=self._in_flight - self._waiting,
                waiting=self._waiting,
                waiting_tokens=self._waiting_tokens,
                cache_tokens=0,
                cache_limit=0,
            )

    def submit(self, request: GenerationRequest, deliver: Deliver) -> _Ticket:
        """Accept a request or refuse it at once; see Engine."""
        submitted_at = perf_counter()
        _refuse_written(request)
        prompt_tokens = _prompt_tokens(request, self._service)
        most_new = _most_new(request, self._service)
        job = RemoteJob(
            request=request,
            body=request_body(request, api=self._api, model=self._model, max_tokens=most_new),
            most_new=most_new,
            prompt_tokens_guess=prompt_tokens,
            deliver=deliver,
            on_begin=self._begun,
            submitted_at=submitted_at,
        )
        with self._changed:
            self._admit(job)
            self._loop.call_soon_threadsafe(self._start, job)
        return _Ticket(engine=self, job=job)

    def language_model(self) -> "LanguageModel":
        """Refused: the model is on another host."""
        raise GenerationError(
            "mode=split needs the cloud's model in the service itself (engine.kind=embedded).",
            status="UNIMPLEMENTED",
        )

    def close(self) -> None:
        """Cancel what runs, refuse what comes, and wait for the thread to end."""
        with self._changed:
            closing, self._closing = self._closing, True
            if not closing:
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _admit(self, job: RemoteJob) -> None:
        after = self._waiting_tokens + job.prompt_tokens_guess
        if self._closing or not self._thread.is_alive():
            raise GenerationError("The cloud is shutting down.", status="UNAVAILABLE")
        if self._in_flight >= self._service.queue:
            raise _busy(
                f"{self._in_flight} requests are waiting or running, service.queue allows "
                f"{self._service.queue}"
            )
        if self._waiting and after > self._service.queue_tokens:
            raise _busy(
                f"about {self._waiting_tokens} prompt tokens wait, service.queue_tokens allows "
                f"{self._service.queue_tokens}"
            )
        self._in_flight += 1
        self._waiting += 1
        self._waiting_tokens = after

    def _begun(self, job: RemoteJob) -> None:
        with self._changed:
            self._waiting -= 1
            self._waiting_tokens -= job.prompt_tokens_guess

    # The thread that owns the loop.

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._until_stopped())

    async def _until_stopped(self) -> None:
        await self._stop.wait()
        tasks = [job.task for job in self._jobs if job.task is not None]
        for job in list(self._jobs):
            self._cancel(job)
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.aclose()

    def _start(self, job: RemoteJob) -> None:
        self._jobs.add(job)
        job.task = asyncio.create_task(job.run(self._client, self._url, self._api))
        job.task.add_done_callback(lambda task: self._end(job, task))

    def _cancel(self, job: RemoteJob) -> None:
        if job.task is not None and not job.task.done():
            job.cancelled = True
            job.task.cancel()

    def _end(self, job: RemoteJob, task: asyncio.Task[str]) -> None:
        """The one terminal event of a request, made where its task has ended."""
        event = self._outcome(job, task)
        self._jobs.discard(job)
        if not job.first_at:
            self._begun(job)
        with self._changed:
            self._in_flight -= 1
        job.deliver(event)

    def _outcome(self, job: RemoteJob, task: asyncio.Task[str]) -> Event:
        error = None if task.cancelled() else task.exception()
        if task.cancelled() or (error is not None and job.cancelled):  # closing may fail, too
            return job.reply("cancelled", self.model_fingerprint)
        if error is None:
            self._tell("")
            return job.reply(task.result(), self.model_fingerprint)
        if isinstance(error, httpx.HTTPError):
            name = type(error).__name__
            error = broken_off(name) if job.first_at else UpstreamFault(name, unavailable())
        if isinstance(error, UpstreamFault):
            self._tell(error.found)
            return error.error
        return internal_error(error, log)

    def _tell(self, trouble: str) -> None:
        """Log that the server is in trouble, or out of it: once, not for every request."""
        if trouble and trouble != self._trouble:
            log.warning("the engine at %s: %s", self._url, trouble)
        elif self._trouble and not trouble:
            log.warning("the engine at %s answers again", self._url)
        self._trouble = trouble


def _refuse_written(request: GenerationRequest) -> None:
    if request.written:
        raise GenerationError(
            "Refused: an answer cannot be continued here, for nobody knows the server's tokens.",
            status="INVALID_ARGUMENT",
        )


def _prompt_tokens(request: GenerationRequest, service: ServiceSettings) -> int:
    """About how many; refuse what is too long for certain."""
    limit = service.max_prompt_tokens
    characters = len(request.prompt) + sum(len(turn.content) for turn in request.history)
    if characters > LONGEST_TOKEN * limit:
        raise GenerationError(
            f"Refused: the prompt has {characters} characters, the limit is {limit} tokens.",
            status="INVALID_ARGUMENT",
        )
    return 1 + characters // CHARACTERS


def _most_new(request: GenerationRequest, service: ServiceSettings) -> int:
    wanted, allowed = request.max_new_tokens, service.max_new_tokens
    if wanted is not None and not 1 <= wanted <= allowed:
        raise GenerationError(
            f"Refused: max_new_tokens is {wanted}, at most {allowed} can be written.",
            status="INVALID_ARGUMENT",
        )
    return allowed if wanted is None else wanted


def _busy(what: str) -> GenerationError:
    return GenerationError(
        f"The cloud is busy: {what}. Try again later.", status="RESOURCE_EXHAUSTED"
    )
