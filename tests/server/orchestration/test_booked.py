"""The engine whose requests stand in the book, over workers that die."""

from fl.generation import Reply
from fl.settings import load
from server.orchestration.book import Book
from server.orchestration.booked import BookPlace
from tests.server.generation.workers.fakes import ANSWER, FakeLine, Fate, ask, new_pool, wanted

SETTINGS = load([])


class NotingBook(Book):
    """Keeps what it was told of requests that came."""

    came: list[int]

    def come(self, *args: object, written: int = 0) -> str | None:
        self.came = [*getattr(self, "came", []), written]
        return super().come(*args, written=written)  # type: ignore[arg-type]


def test_the_book_hears_what_dead_workers_wrote() -> None:
    book = NotingBook(SETTINGS)
    lines = [FakeLine([Fate(dies_after=3)]) for _ in range(2)]
    made = new_pool(*lines, place=BookPlace(book))
    _, reply = ask(made.pool, wanted(stop=()))
    made.pool.close()
    assert isinstance(reply, Reply)
    assert reply.completion_tokens == len(ANSWER)
    assert book.came == [0, 3, 6]
