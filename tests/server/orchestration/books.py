"""Books of the tests, by a clock of theirs."""

from fl.generation import Reply
from fl.settings import load
from server.generation.workers.placing import WorkerState
from server.orchestration.book import Book
from server.orchestration.entries import Announced

SETTINGS = load(
    [
        "orchestration.step_ms=10",
        "orchestration.row_ms=10",
        "orchestration.slack=0",
        "asking.answer_tokens=40",  # so 30 are expected at first: 0.6 s alone
    ]
)


HERE = [WorkerState(name="here")]
OTHER = [WorkerState(name="other")]
AWAY = [WorkerState(name="here", up=False)]
AGAIN = [WorkerState(name="here", restarts=1)]


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def book_of(clock: Clock) -> Book:
    book = Book(SETTINGS, clock=clock)
    book.staff(HERE)
    return book


def announced(name: str, *, deadline_s: float = 1.0) -> Announced:
    return Announced(
        request_id=name,
        site_id="elm",
        cell="elm",
        deadline_s=deadline_s,
        bytes_up=100,
        bytes_down=100,
        ready_s=0.0,
        own_s=float("inf"),
    )


def reply(tokens: int, seconds: float, *, finish_reason: str = "stop") -> Reply:
    return Reply(
        text="",
        finish_reason=finish_reason,
        prompt_tokens=1,
        completion_tokens=tokens,
        queue_seconds=0.0,
        prefill_seconds=0.0,
        decode_seconds=seconds,
        model_fingerprint="",
        release="base",
    )


def taught(clock: Clock) -> Book:
    """Its worker is known to take half a second a token."""
    book = book_of(clock)
    for number in range(300):
        book.come(str(number), HERE)
        clock.now += 5.0
        book.end(str(number), reply(10, 5.0))
    return book
