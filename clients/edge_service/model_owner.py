"""The one thread that owns the edge model: learning on it, and people's prompts before learning.

A prompt does not wait for a step of learning to end. The model's gate, which learning passes at
every layer forwards and backwards, hands the thread over in the middle of a step; what a prompt
computes there it computes on modules and adapters of its own. So people have all cores to
themselves, training loses no step, and it ends with the same bytes as without any prompt.

Prompts that wait at the same time are written in one batch, whichever sites' adapters they bring.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from clients.edge_model import EdgeModel
from clients.edge_service.prompt_batch import CountTokens, Waiting, write_together
from clients.learning.edge_site import Pause
from clients.writing import Written
from fl.adapter import Adapter
from fl.errors import GenerationError, NetGPTError
from fl.orchestration.turn_server import Turn

MOST_WAITING = 64  # prompts; one more is refused at once
MOST_TOGETHER = 16  # prompts written in one batch
LEARNING_SHARE = 0.2  # of the time, at the least: prompts without end make a job five times as long

Result = TypeVar("Result")
Job = Callable[[EdgeModel, Pause], Any]  # the model has any adapter; pause between steps


class GivenUp(NetGPTError):
    """The service ends; what the model was doing or was to do is given up."""

    status = "UNAVAILABLE"  # gRPC's name for it, as a GenerationError has one


class ModelOwner:
    """Start it, hand it work from any thread, close it."""

    def __init__(
        self,
        load: Callable[[], EdgeModel],
        *,
        clock: Callable[[], float] = time.monotonic,
        least_step_s: float = 0.0,
    ) -> None:
        """A step of writing takes `least_step_s` at the least, where a larger model is emulated."""
        self._load = load  # on the owner's thread: torch counts threads by thread
        self._clock, self._least_step_s = clock, least_step_s
        # Hears of each batch, on our thread.
        self.on_turn: Callable[[Turn], None] = lambda turn: None
        self._wake = threading.Condition()
        self._prompts: deque[Waiting] = deque()
        self._calls: deque[tuple[Future[Any], Callable[[EdgeModel], Any]]] = deque()
        self._jobs: deque[tuple[Future[Any], Job]] = deque()
        self._learns_until = 0.0  # by the clock; prompts that interrupted it wait till then
        self.closing = False  # told to end
        # Others may read the model's sizes and count tokens with it, and no more.
        self.loaded: Future[EdgeModel] = Future()
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
        """Prompts, and calls for by-products, that wait for the model."""
        return len(self._prompts) + len(self._calls)

    def write(
        self,
        prompt_of: Callable[[CountTokens], str],
        adapter: Adapter,
        *,
        max_new_tokens: int,
    ) -> "Future[Written]":
        """Complete one prompt with this adapter, before any learning.

        `prompt_of(count_tokens)` makes the prompt on the model's thread when its turn has come.
        Raises GenerationError (RESOURCE_EXHAUSTED) when too many wait, GivenUp when the service
        ends. The future raises what `prompt_of` raises, or AdapterError or BaseModelError where
        adapter or sizes do not fit. Cancelling it takes a prompt that waits out of the queue.
        """
        future: Future[Written] = Future()
        waiting = Waiting(
            prompt_of=prompt_of, adapter=adapter, max_new_tokens=max_new_tokens, future=future
        )
        with self._wake:
            self._refuse_when_closing()
            if len(self._prompts) >= MOST_WAITING:
                self._prompts = deque(w for w in self._prompts if not w.future.cancelled())
            if len(self._prompts) >= MOST_WAITING:
                raise _too_many()
            self._prompts.append(waiting)
            self._wake.notify()
        return future

    def call(self, job: Callable[[EdgeModel], Result]) -> "Future[Result]":
        """Have the model's writer for a moment, after the prompts that wait and before learning.

        Raises GenerationError (RESOURCE_EXHAUSTED) when too many wait, GivenUp when the service
        ends.
        """
        future: Future[Result] = Future()
        with self._wake:
            self._refuse_when_closing()
            if len(self._calls) >= MOST_WAITING:
                self._calls = deque(c for c in self._calls if not c[0].cancelled())
            if len(self._calls) >= MOST_WAITING:
                raise _too_many()
            self._calls.append((future, job))
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
        """Give up what learns at its next layer and all that waits; end the thread."""
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
            while not (self.waiting or self._jobs or self.closing):
                self._wake.wait()
            return not self.closing

    def _learn(self, model: EdgeModel) -> None:
        with self._wake:
            if not self._jobs:
                return
            future, job = self._jobs.popleft()
        if not future.set_running_or_notify_cancel():
            return

        def give_way() -> None:
            self._give_way(model)

        model.gate.way = give_way
        try:
            result = job(model, lambda steps: give_way())
        except BaseException as error:  # noqa: BLE001 - belongs to who asked; the thread goes on
            future.set_exception(error)
        else:
            future.set_result(result)
        finally:
            model.gate.way = None

    def _give_way(self, model: EdgeModel) -> None:
        """In the middle of learning. Raises GivenUp when the service ends."""
        if self.closing:
            raise GivenUp("The edge service ends.")
        if self.waiting and self._clock() >= self._learns_until:
            began = self._clock()
            self._serve(model)
            ended = self._clock()
            owed = (ended - began) * LEARNING_SHARE / (1 - LEARNING_SHARE)
            self._learns_until = ended + owed

    def _serve(self, model: EdgeModel) -> None:
        """The prompts that wait now, as many as one batch takes, then one call."""
        self._write(model)
        with self._wake:
            called = self._calls.popleft() if self._calls else None
        if called is None or not called[0].set_running_or_notify_cancel():
            return
        future, job = called
        try:
            result = job(model)
        except BaseException as error:  # noqa: BLE001 - belongs to who asked; the thread goes on
            future.set_exception(error)
        else:
            future.set_result(result)

    def _write(self, model: EdgeModel) -> None:
        with self._wake:
            taken = [self._prompts.popleft() for _ in range(min(MOST_TOGETHER, len(self._prompts)))]
        write_together(model, taken, least_step_s=self._least_step_s, on_turn=self.on_turn)

    def _refuse_when_closing(self) -> None:
        if self.closing or (self.loaded.done() and not self.alive):
            raise GivenUp("The edge service ends.")

    def _drop_all(self) -> None:
        with self._wake:
            dropped = [waiting.future for waiting in self._prompts]
            dropped += [future for future, _ in (*self._calls, *self._jobs)]
            self._prompts.clear()
            self._calls.clear()
            self._jobs.clear()
        for future in dropped:
            if future.set_running_or_notify_cancel():
                future.set_exception(GivenUp("The edge service ends."))


def _too_many() -> GenerationError:
    return GenerationError(
        f"{MOST_WAITING} requests wait for this site's model. Try again later.",
        status="RESOURCE_EXHAUSTED",
    )
