"""The one thread that owns the edge model: learning on it, and people's prompts in between.

A prompt goes before learning. A learning job hands the model over between two optimiser steps and
between held-out batches; prompts that wait are served, then the learner's adapter is set again, bit
for bit. So training loses no step, and ends with the same bytes as without any prompt.
"""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any, TypeVar

from clients.edge_model import EdgeModel
from clients.learning.contribution import Pause
from fl.adapter import Adapter
from fl.errors import GenerationError, NetGPTError

MOST_WAITING = 64  # prompts; one more is refused at once

Result = TypeVar("Result")
Prompt = Callable[[EdgeModel], Any]  # the model has the asker's adapter
Job = Callable[[EdgeModel, Pause], Any]  # the model has any adapter; pause between steps


class GivenUp(NetGPTError):
    """The service ends; what the model was doing or was to do is given up."""


class ModelOwner:
    """Start it, hand it work from any thread, close it."""

    def __init__(self, load: Callable[[], EdgeModel]) -> None:
        self._load = load  # on the owner's thread: torch counts threads by thread
        self._wake = threading.Condition()
        self._prompts: deque[tuple[Future[Any], Prompt, Adapter]] = deque()
        self._jobs: deque[tuple[Future[Any], Job]] = deque()
        self.closing = False  # told to end
        self._set: Adapter | None = None  # the asker's adapter that the model has now, if any
        self.loaded: Future[EdgeModel] = Future()  # others may read its sizes, and no more
        self._thread = threading.Thread(target=self._run, name="model owner", daemon=True)

    def start(self) -> None:
        """Begin to load the model; `loaded` gets it, or what loading raises."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Is the thread running?"""
        return self._thread.is_alive()

    @property
    def waiting(self) -> int:
        """Prompts that wait for the model."""
        return len(self._prompts)

    def ask(self, prompt: Callable[[EdgeModel], Result], adapter: Adapter) -> "Future[Result]":
        """Have the model, with this adapter, as soon as it can be had.

        Raises GenerationError (RESOURCE_EXHAUSTED) when too many wait. Cancelling the future takes
        a prompt that waits out of the queue.
        """
        future: Future[Result] = Future()
        with self._wake:
            self._refuse_when_closing()
            if len(self._prompts) >= MOST_WAITING:
                raise GenerationError(
                    f"{MOST_WAITING} prompts wait for this site's model. Try again later.",
                    status="RESOURCE_EXHAUSTED",
                )
            self._prompts.append((future, prompt, adapter))
            self._wake.notify()
        return future

    def learn(self, job: Callable[[EdgeModel, Pause], Result]) -> "Future[Result]":
        """Have the model for long; jobs run one after the other in the order they came."""
        future: Future[Result] = Future()
        with self._wake:
            self._refuse_when_closing()
            self._jobs.append((future, job))
            self._wake.notify()
        return future

    def close(self, *, wait_s: float) -> None:
        """Give up what runs at its next step and all that waits; end the thread."""
        with self._wake:
            self.closing = True
            self._wake.notify()
        if self._thread.ident is not None:
            self._thread.join(wait_s)
        self._drop_all()  # a thread that did not end in time must not keep its askers waiting

    # --- on the thread ---

    def _run(self) -> None:
        try:
            model = self._load()
        except BaseException as error:  # noqa: BLE001 - whoever waits for `loaded` raises it
            self.loaded.set_exception(error)
            return
        self.loaded.set_result(model)
        try:
            while self._wait_for_work():
                self._serve(model)
                self._learn(model)
        finally:
            self._drop_all()

    def _wait_for_work(self) -> bool:
        with self._wake:
            while not (self._prompts or self._jobs or self.closing):
                self._wake.wait()
            return not self.closing

    def _learn(self, model: EdgeModel) -> None:
        with self._wake:
            if not self._jobs:
                return
            future, job = self._jobs.popleft()
        if future.set_running_or_notify_cancel():
            self._set = None
            _fulfil(future, lambda: job(model, lambda steps: self._pause(model)))
            self._set = None

    def _pause(self, model: EdgeModel) -> None:
        """Between two steps of learning. Raises GivenUp when the service ends."""
        if self.closing:
            raise GivenUp("The edge service ends.")
        if not self._prompts:
            return
        learners = model.adapter()
        self._serve(model)
        model.set_adapter(learners)
        self._set = None

    def _serve(self, model: EdgeModel) -> None:
        """Serve the prompts that wait now; later ones let learning take a step first."""
        for _ in range(len(self._prompts)):
            with self._wake:
                if self.closing or not self._prompts:
                    return
                future, prompt, adapter = self._prompts.popleft()
            if future.set_running_or_notify_cancel():
                _fulfil(future, partial(self._with_adapter, model, adapter, prompt))

    def _with_adapter(self, model: EdgeModel, adapter: Adapter, prompt: Prompt) -> Any:
        if self._set is not adapter:
            self._set = None  # should setting it fail half-way
            model.set_adapter(adapter)
            self._set = adapter
        return prompt(model)

    def _refuse_when_closing(self) -> None:
        if self.closing or (self.loaded.done() and not self.alive):
            raise GivenUp("The edge service ends.")

    def _drop_all(self) -> None:
        with self._wake:
            dropped = [prompt[0] for prompt in self._prompts] + [job[0] for job in self._jobs]
            self._prompts.clear()
            self._jobs.clear()
        for future in dropped:
            if future.set_running_or_notify_cancel():
                future.set_exception(GivenUp("The edge service ends."))


def _fulfil(future: "Future[Any]", work: Callable[[], Any]) -> None:
    """Whatever the work raises belongs to who asked for it; the thread goes on."""
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001 - the thread's outermost loop
        future.set_exception(error)
