"""Where a request with a deadline is answered: the cloud is asked while the site enriches.

The site waits for the verdict as long as its own answer could still be in time; then it answers by
itself. A cloud that is away is a verdict too: the site answers.
"""

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as Late
from threading import Lock, Thread
from time import perf_counter

from clients.asking.ask import Answered
from clients.orchestration.cloud_desk import CloudDesk, Question
from clients.orchestration.own_pace import OwnPace
from clients.routing.link_meter import LinkMeter
from fl.errors import GenerationError
from fl.orchestration.admission import Verdict
from fl.settings import Settings

WAITS = 0.9  # share of what is left of the step in which a verdict is waited for

AT_THE_SITE = Verdict(place="edge", short_of="link")


class Placing:
    """One site's way to ask. For any thread."""

    def __init__(
        self,
        settings: Settings,
        site_id: str,
        *,
        cell: str,
        desk: CloudDesk,
        pace: OwnPace,
        meter: LinkMeter,
    ) -> None:
        self._settings, self._site_id, self._cell = settings, site_id, cell
        self._desk, self._pace, self._meter = desk, pace, meter

    def begin(
        self, request_id: str, *, started: float, deadline_s: float, drafts: bool = False
    ) -> "Place":
        """Ask for a place; returns at once. `started` is perf_counter() at the short prompt.

        One that `drafts` has its own answer written before it would go to the cloud.
        """
        usual, own_s = self._meter.usual, self._pace.own_s()
        due = started + deadline_s
        question = Question(
            request_id=request_id,
            site_id=self._site_id,
            cell=self._cell,
            deadline_s=max(0.001, due - perf_counter()),
            bytes_up=usual.bytes_up,
            bytes_down=usual.bytes_down,
            ready_s=own_s if drafts else self._pace.ready_s(),
            own_s=own_s,
            rtt_s=self._meter.recent_rtt_s,
        )
        kept_s = self._settings.orchestration.slack * deadline_s
        place = Place(
            self._desk,
            question,
            due=due,
            in_time=due - kept_s,
            answer_s=(lambda: 0.0) if drafts else self._pace.answer_s,
            on_answer=self._meter.saw,
        )
        Thread(target=place.ask, name="placing", daemon=True).start()
        return place

    def learn(self, answered: Answered) -> None:
        """What became of a request."""
        self._meter.hear(answered)


class Place:
    """The place of one request."""

    def __init__(
        self,
        desk: CloudDesk,
        question: Question,
        *,
        due: float,
        in_time: float,
        answer_s: Callable[[], float],
        on_answer: Callable[[float], object],
    ) -> None:
        """`due` and `in_time` are when the request must, and shall, be answered; `answer_s` gives
        the seconds that the site would need for that. `on_answer` hears how many the question and
        its answer were on their way.
        """
        self._desk, self._question, self._due, self._in_time = desk, question, due, in_time
        self._answer_s, self._on_answer = answer_s, on_answer
        self._said: Future[Verdict] = Future()
        self._lock = Lock()  # guards the next
        self._unused = False  # the site has gone on without it

    def ask(self) -> None:
        """Ask the cloud; the outermost call of a thread."""
        began = perf_counter()
        try:
            verdict = self._desk.admit(self._question)
            self._on_answer(perf_counter() - began)
        except GenerationError:
            verdict = AT_THE_SITE
        with self._lock:
            self._said.set_result(verdict)
            unused = self._unused
        if unused:
            self._release(verdict)

    def verdict(self, *, within_s: float) -> Verdict:
        """What the cloud says, or that the site cannot wait for it any longer.

        It waits as long as its own answer could still be in time; for longer, where that could not.
        """
        now, answer_s = perf_counter(), self._answer_s()
        until = self._in_time - answer_s if now + answer_s <= self._in_time else self._due
        wait_s = min(until - now, WAITS * within_s)
        try:
            return self._said.result(timeout=max(0.0, wait_s))
        except Late:
            self.give_back()
            return AT_THE_SITE

    def give_back(self) -> None:
        """It will not be used, whatever the cloud says."""
        with self._lock:
            self._unused = True
            said = self._said.result() if self._said.done() else None
        if said is not None:
            self._release(said)

    def _release(self, verdict: Verdict) -> None:
        if verdict.place == "cloud":
            self._desk.release(self._question.site_id, self._question.request_id)
