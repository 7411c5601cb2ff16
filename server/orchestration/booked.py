"""An engine whose every request stands in the book, announced or not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl.generation import GenerationRequest, Reply, TextPiece
from server.generation.engine import Deliver, Engine, Event, Load, Ticket
from server.generation.workers.placing import WorkerState
from server.generation.workers.pool import WorkerPool
from server.orchestration.book import Book, named

if TYPE_CHECKING:
    from server.generation.loading import LanguageModel

HERE = "here"  # the one worker of a cloud that has no others
_ALONE = (WorkerState(name=HERE),)


@dataclass(frozen=True)
class Booked:
    """The engine of this process, and the book."""

    engine: Engine
    book: Book
    pool: WorkerPool | None  # which places requests itself, asking BookPlace; None for one model

    @property
    def model_name(self) -> str:
        return self.engine.model_name

    @property
    def model_fingerprint(self) -> str:
        return self.engine.model_fingerprint

    @property
    def release(self) -> str:
        return self.engine.release

    @property
    def alive(self) -> bool:
        return self.engine.alive

    @property
    def load(self) -> Load:
        return self.engine.load

    def submit(self, request: GenerationRequest, deliver: Deliver) -> Ticket:
        """As the engine does, and the book knows how long it takes."""
        name = named(request.site_id, request.request_id)
        if self.pool is None:
            self.book.come(name, _ALONE, written=len(request.written))

        def noted(event: Event) -> None:
            if not isinstance(event, TextPiece):
                self.book.end(name, event if isinstance(event, Reply) else None)
            deliver(event)

        try:
            return self.engine.submit(request, noted)
        except BaseException:  # whatever it was: nobody comes
            self.book.end(name, None)
            raise

    @property
    def workers(self) -> Sequence[WorkerState]:
        """What is known of each; of the one model here where there are no others."""
        if self.pool is not None:
            return self.pool.workers
        load = self.engine.load
        return [WorkerState(name=HERE, running=load.running, waiting=load.waiting)]

    def language_model(self) -> "LanguageModel":
        return self.engine.language_model()

    def close(self) -> None:
        """End the engine."""
        self.engine.close()


@dataclass(frozen=True)
class BookPlace:
    """The rule of a pool of workers: a request goes where it was promised a place."""

    book: Book

    def __call__(self, request: GenerationRequest, workers: Sequence[WorkerState]) -> WorkerState:
        """See server/generation/workers/placing.py."""
        name = self.book.come(
            named(request.site_id, request.request_id), workers, written=len(request.written)
        )
        assert name is not None, "there is at least one worker"
        return next(worker for worker in workers if worker.name == name)


def booked(engine: Engine, book: Book, *, pool: Engine) -> Booked:
    """Enter the requests of an engine; `pool` is it without what stands around it."""
    return Booked(engine, book, pool if isinstance(pool, WorkerPool) else None)
