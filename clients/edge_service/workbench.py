"""Learning jobs, each done once: the same work again joins the running job or gets its answer.

A courier whose process was killed, or whose cloud asks once more, sends the same work again. What
makes work the same is its kind, its plan and its release, byte for byte.
"""

import hashlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from clients.edge_model import EdgeModel
from clients.edge_service.model_owner import GivenUp, ModelOwner
from clients.learning.edge_site import Pause
from clients.learning.site_work import Parts, Work
from fl.adapter import digest

KEPT_ANSWERS = 4  # of the newest work that succeeded

Key = tuple[str, str, str]  # kind, plan, release


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the running job is."""

    work: Work
    step: int  # optimiser steps taken


class Workbench:
    """Jobs on their way to the model owner, and the last few answers."""

    def __init__(self, owner: ModelOwner, say: Callable[[str], None]) -> None:
        self._owner = owner
        self._say = say
        self._lock = threading.Lock()
        self._jobs: dict[Key, Future[Parts]] = {}  # running ones, and those that succeeded
        self.progress: Progress | None = None  # None while idle

    def do(self, work: Work, job: Callable[[EdgeModel, Pause], Parts]) -> Parts:
        """The answer of this work, by `job` unless the same work runs or has been done.

        Raises what the job raises; work that failed is tried anew when it is asked for again.
        """
        key = key_of(work)
        with self._lock:
            future = self._jobs.get(key)
            if future is None:
                future = self._owner.learn(partial(self._watched, work, job))
                self._forget()
                self._jobs[key] = future
        try:
            return future.result()
        except BaseException:
            with self._lock:
                if self._jobs.get(key) is future:
                    del self._jobs[key]
            raise

    def _watched(
        self,
        work: Work,
        job: Callable[[EdgeModel, Pause], Parts],
        model: EdgeModel,
        pause: Pause,
    ) -> Parts:
        """On the model's thread: note the progress, say when it began and how it ended."""

        def noted(step: int) -> None:
            self.progress = Progress(work=work, step=step)
            pause(step)

        started = time.perf_counter()
        self.progress = Progress(work=work, step=0)
        self._say(f"{work} begun" + (f", run {work.run}" if work.run else ""))
        ending = "ended"
        try:
            return job(model, noted)
        except GivenUp:
            ending = "given up"
            raise
        except BaseException as error:
            ending = f"failed: {type(error).__name__},"
            raise
        finally:
            self.progress = None
            self._say(f"{work} {ending} after {time.perf_counter() - started:.1f} s")

    def _forget(self) -> None:
        """Drop the oldest answers, to make room for one more; running jobs stay."""
        done = [key for key, future in self._jobs.items() if future.done()]
        for key in done[: 1 - KEPT_ANSWERS]:
            del self._jobs[key]


def key_of(work: Work) -> Key:
    """What makes two pieces of work the same."""
    release = hashlib.sha256(work.sent.manifest + work.sent.signature)
    release.update(digest(work.sent.shared).encode())
    return work.kind, repr(work.plan), release.hexdigest()
