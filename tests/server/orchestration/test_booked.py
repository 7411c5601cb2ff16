"""The engine whose requests stand in the book, over workers that die."""

from typing import Any, cast

import pytest

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply
from fl.settings import load
from server.orchestration.book import Book
from server.orchestration.booked import BookPlace, booked
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


class BrokenEngine:
    """Accepts nothing."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def submit(self, request: GenerationRequest, deliver: object) -> None:
        raise self.error


@pytest.mark.parametrize(
    "error", [GenerationError("Full.", status="RESOURCE_EXHAUSTED"), MemoryError(), KeyError("k")]
)
def test_what_could_not_begin_leaves_no_place_behind(error: Exception) -> None:
    book = Book(SETTINGS)
    engine = cast(Any, BrokenEngine(error))
    with pytest.raises(type(error)):
        booked(engine, book, pool=engine).submit(wanted(), lambda event: None)
    assert [worker.promised for worker in book.workers()] == [0]
