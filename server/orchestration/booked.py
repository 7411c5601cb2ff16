"""An engine whose every request stands in the book, announced or not."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from server.generation.engine import Deliver, Engine, Event, Load, Ticket
from server.orchestration.book import Book
from server.orchestration.orchestration_service import named

if TYPE_CHECKING:
    from server.generation.loading import LanguageModel

HERE = "here"  # the one worker of a cloud that has no others


@dataclass(frozen=True)
class Booked:
    """The engine of this process, and the book."""

    engine: Engine
    book: Book

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
        self.book.come(name)

        def noted(event: Event) -> None:
            if not isinstance(event, TextPiece):
                self.book.end(name, event if isinstance(event, Reply) else None)
            deliver(event)

        try:
            return self.engine.submit(request, noted)
        except GenerationError:
            self.book.end(name, None)
            raise

    def language_model(self) -> "LanguageModel":
        return self.engine.language_model()

    def close(self) -> None:
        """End the engine."""
        self.engine.close()


def booked(engine: Engine, book: Book) -> Booked:
    """Enter an engine's requests."""
    book.begin_worker(HERE)
    return Booked(engine, book)
