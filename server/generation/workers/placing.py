"""Which worker a request goes to.

A rule is a function of a request and the workers that could take it now; another one is given to
`open_workers` or `WorkerPool`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fl.generation import BASE, GenerationRequest


@dataclass(frozen=True, kw_only=True)
class WorkerState:
    """What is known of a worker at one moment."""

    name: str
    up: bool = True  # answers now
    running: int = 0  # requests from here whose answer has begun
    waiting: int = 0  # requests from here whose answer has not
    outstanding_tokens: int = 0  # still to be written for all of them, at the most
    tokens_per_second: float = 0.0  # measured while it wrote; 0 before
    release: str = BASE  # what it answers new requests with
    restarts: int = 0  # processes started after the first
    lost: int = 0  # requests that others had to take over from it


# Chooses one of the workers given: all are up, there is at least one. The request is what is left
# of it: `written` is what workers wrote that have gone. May raise GenerationError, by which the
# request ends. Called with the pool's lock held: it must return at once.
Place = Callable[[GenerationRequest, Sequence[WorkerState]], WorkerState]


def least_wait(request: GenerationRequest, workers: Sequence[WorkerState]) -> WorkerState:
    """The worker that would have written what it owes soonest; of equals the first.

    One without a measurement is taken for as quick as the others are on average.
    """
    speeds = [worker.tokens_per_second for worker in workers if worker.tokens_per_second > 0]
    usual = sum(speeds) / len(speeds) if speeds else 1.0

    def wait_s(worker: WorkerState) -> float:
        return worker.outstanding_tokens / (worker.tokens_per_second or usual)

    return min(workers, key=wait_s)
