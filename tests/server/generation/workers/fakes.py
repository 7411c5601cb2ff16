"""Workers without processes: they write a known answer, and die where a test says.

A fake tells its text as the embedded engine does, by the same TextStream: a tail that may become a
stop string is held back, and a continued answer begins with the text of what was written. That, and
the errors of a line, is all the pool sees of a worker.
"""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from types import SimpleNamespace

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.settings import load
from fl.text_stream import TextStream
from server.generation.engine import Event
from server.generation.workers.placing import Place, least_wait
from server.generation.workers.pool import WorkerPool
from server.generation.workers.watch import Watch
from server.generation.workers.worker import About, WorkerLost

ANSWER = ("A", " ta", "ble", " at", " the", " mi", "ll", ".")  # token i is written as ANSWER[i]
OTHER = ("A", " ta", "xi", " at", " the", " mi", "ll", ".")
TEXT = "".join(ANSWER)
SETTINGS = load([])
STOPS = ("the min", "! no")  # " the mi" is held back until "ll" comes


def wanted(new_tokens: int = 64, stop: tuple[str, ...] = STOPS) -> GenerationRequest:
    """A request of these tests."""
    return GenerationRequest(
        request_id="r", site_id="s", prompt="p", max_new_tokens=new_tokens, stop=stop
    )


@dataclass(kw_only=True)
class Fate:
    """What becomes of one call."""

    dies_after: int | None = None  # new tokens; one more than there are: after the last text
    refuses: str = ""  # a status
    hangs: bool = False  # after its first token, until it is cancelled
    says_tokens: bool = True
    answer: Sequence[str] = ANSWER


class FakeCall:
    """Writes the answer from where it was left."""

    def __init__(self, request: GenerationRequest, fate: Fate) -> None:
        self.request, self.fate = request, fate
        self.started = False
        self.cancelled = threading.Event()

    def cancel(self) -> None:
        self.cancelled.set()

    def __iter__(self) -> Iterator[TextPiece | Reply]:
        fate, request = self.fate, self.request
        if fate.refuses:
            raise GenerationError("Refused here.", status=fate.refuses)
        if fate.dies_after == 0:
            raise WorkerLost
        self.started = True
        ids = list(range(min(len(fate.answer), request.max_new_tokens or 64)))
        stream = TextStream(lambda some: "".join(fate.answer[i] for i in some), stop=request.stop)
        unsaid: list[int] = []
        untold = ""
        for token_id in request.written:
            unsaid.append(token_id)
            untold += stream.push(token_id)
        for number, token_id in enumerate(ids[len(request.written) :], start=1):
            unsaid.append(token_id)
            if text := untold + stream.push(token_id):
                yield self._piece(text, unsaid)
                untold = ""
            if fate.hangs and self.cancelled.wait(30):
                raise WorkerLost
            if number == fate.dies_after:
                raise WorkerLost
        if rest := untold + stream.finish():
            yield self._piece(rest, unsaid)
        if fate.dies_after is not None:
            raise WorkerLost
        yield Reply(
            text=stream.sent,
            finish_reason="length",
            prompt_tokens=3,
            completion_tokens=len(ids),
            queue_seconds=0.0,
            prefill_seconds=0.0,
            decode_seconds=0.0,
            model_fingerprint="ab",
            release="cloud/1",
        )

    def _piece(self, text: str, unsaid: list[int]) -> TextPiece:
        said = tuple(unsaid) if self.fate.says_tokens else ()
        unsaid.clear()
        return TextPiece(text=text, token_ids=said)


@dataclass
class FakeLine:
    """One worker: what it says of itself, and the fates of the calls to come; then it answers."""

    fates: list[Fate] = field(default_factory=list)
    up: bool = True
    silent: bool = False
    fingerprint: str = "ab"
    requests: list[GenerationRequest] = field(default_factory=list)

    def generate(self, request: GenerationRequest) -> FakeCall:
        if not self.up:
            raise WorkerLost
        self.requests.append(request)
        return FakeCall(request, self.fates.pop(0) if self.fates else Fate())

    def look(self) -> About | None:
        if not self.up:
            raise WorkerLost
        if self.silent:
            return None
        return About(
            model_name="netgpt-cloud",
            model_fingerprint=self.fingerprint,
            release="cloud/1",
            waiting_tokens=5,
            cache_tokens=7,
            cache_limit=100,
        )

    def close(self) -> None:
        self.up = False


class FakeWhereabouts:
    """Workers that come and go as a test says."""

    def __init__(self, *lines: FakeLine) -> None:
        self.lines = {f"worker-{i}": line for i, line in enumerate(lines, start=1)}
        self.names = tuple(self.lines)
        self.given_up: list[str] = []
        self.dead: dict[str, str] = {}
        self.closed = False

    def ended(self) -> dict[str, str]:
        found, self.dead = self.dead, {}
        return found

    def address(self, name: str) -> str | None:
        return name

    def give_up(self, name: str) -> bool:
        self.given_up.append(name)
        return True

    def close(self) -> None:
        self.closed = True


def new_pool(
    *lines: FakeLine,
    place: Place = least_wait,
    silence_s: float = 60,
    timeout_s: float = 20,
    most: int = 32,
) -> SimpleNamespace:
    """A pool of these workers: pool, watch, whereabouts, and what was said. Close the pool."""
    engine = replace(SETTINGS.engine, timeout_s=timeout_s)
    service = replace(SETTINGS.service, queue=most)
    whereabouts = FakeWhereabouts(*lines)
    said: list[str] = []
    watch = Watch(whereabouts, whereabouts.lines.__getitem__, said.append, silence_s=silence_s)
    watch.find(all_of_them=False, within_s=10)
    pool = WorkerPool(watch, engine, service, place=place)
    return SimpleNamespace(pool=pool, watch=watch, whereabouts=whereabouts, said=said)


class Inbox:
    """Collects what a pool delivers to one request."""

    def __init__(self) -> None:
        self.events: queue.Queue[Event] = queue.Queue()
        self.put = self.events.put

    def first(self) -> Event:
        return self.events.get(timeout=30)

    def end(self) -> tuple[str, Reply | GenerationError]:
        """The pieces joined, and the one terminal event."""
        pieces = []
        while isinstance(event := self.events.get(timeout=30), TextPiece):
            assert event.text
            pieces.append(event.text)
        return "".join(pieces), event


def until(condition: Callable[[], object]) -> None:
    """Wait for what must come."""
    for _ in range(20_000):
        if condition():
            return
        time.sleep(0.001)
    raise AssertionError("it did not happen")


def ask(pool: WorkerPool, request: GenerationRequest) -> tuple[str, Reply | GenerationError]:
    """Ask and wait for the end."""
    inbox = Inbox()
    pool.submit(request, inbox.put)
    told = inbox.end()
    assert inbox.events.empty()
    return told
