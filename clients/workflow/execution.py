"""A workflow executed as it is written, for one request.

Each step behind those it waits for, else in the file's order, one after the other: what could run
beside something else (profile, disclose, route) takes well under a millisecond, and the steps that
take long wait for each other. The link is measured on a thread of its own meanwhile.

A step sees the values that the file lets it take and no other.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, Protocol

from clients.workflow.deadline import Deadline
from clients.workflow.steps import GIVERS, KINDS, REFUSE, SHORT, SKIP
from clients.workflow.trace import Span
from clients.workflow.workflow import StepSpec, Workflow
from fl.errors import AdapterError, BaseModelError, BookError, GenerationError

# What a step may fail with and its fallback is taken. All else ends the request: the asker has
# left, the service ends, or a mistake of ours.
FAILURES = (GenerationError, BookError, AdapterError, BaseModelError, OSError)


@dataclass(kw_only=True)
class Taken:
    """What one step has in its hands."""

    values: Mapping[str, Any] = field(repr=False)  # that the file lets it take and are there
    names: Mapping[str, str]  # which of them stands in a slot
    deadline: Deadline
    mode: str
    now: Callable[[str], Any]  # a taken value, its step done now where it was not its turn
    failed: Any = field(default=None, repr=False)  # streaming steps: what their fallback replaces

    def slot(self, name: str, default: Any = None) -> Any:
        """What stands in a slot of the step."""
        return self.values[self.names[name]] if name in self.names else default


class Streamed(Protocol):
    """What a streaming step comes to."""

    answer: str  # the text that has been handed over
    error: GenerationError | None  # why there is no more of it


@dataclass(frozen=True, kw_only=True)
class Doing:
    """How one kind of step is done; `instead` by the fallback's name.

    Those of a streaming step are generators: they yield events and return what they come to.
    """

    do: Callable[[Taken], Any]
    instead: Mapping[str, Callable[[Taken], Any]] = field(default_factory=dict)
    also: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)  # further values


@dataclass(kw_only=True)
class _Note:
    """How a step has gone so far."""

    outcome: str = "ok"
    fallback: str = ""
    why: str = ""


class Execution:
    """One request's way through a workflow. `spans` grow as steps end."""

    def __init__(
        self,
        workflow: Workflow,
        doings: Mapping[str, Doing],
        *,
        mode: str,
        short: str,
        timeout_s: float,
        started: float,
        clock: Callable[[], float] = perf_counter,
    ) -> None:
        """`timeout_s` is of steps without a deadline; `started` is the clock's at the request."""
        self._workflow, self._doings, self._mode = workflow, doings, mode
        self._timeout_s, self._started, self._clock = timeout_s, started, clock
        self._values: dict[str, Any] = {SHORT: short}
        self._failed: dict[str, Exception] = {}  # value -> why nobody gives it
        self.spans: list[Span] = []

    def run(self) -> Generator[Any, None, Any]:
        """Yield the events of the streaming step; return the answer. Raises what a step raises
        whose fallback is to refuse, and all that is no step's failure.
        """
        for step in self._workflow.in_order():
            if not step.done_in(self._mode):
                self.spans.append(self._skipped(step))
            elif KINDS[step.does.text].streams:
                yield from self._stream(step)
            elif KINDS[step.does.text].gives not in self._values:
                self._do(step)
        return self._values["answer"]

    def _do(self, step: StepSpec) -> None:
        kind, doing = KINDS[step.does.text], self._doings[step.does.text]
        with self._spanned(step) as note:
            taken = self._taken(step)
            try:
                taken.deadline.check()
                value = doing.do(taken)
                taken.deadline.check()
            except FAILURES as error:
                word = _fallback(step, error, note)
                if word == REFUSE:
                    raise
                if word == SKIP:
                    self._failed[kind.gives] = error
                    return
                value = doing.instead[word](taken)
            if kind.gives:
                self._values[kind.gives] = value

    def _stream(self, step: StepSpec) -> Generator[Any, None, None]:
        kind, doing = KINDS[step.does.text], self._doings[step.does.text]
        with self._spanned(step) as note:
            taken = self._taken(step)
            try:
                taken.deadline.check()
                value = yield from doing.do(taken)
            except FAILURES as error:
                word = _fallback(step, error, note)
                if word == REFUSE:
                    raise
                value = yield from doing.instead[word](taken)
            else:
                if value.error is not None:
                    # Two beginnings of an answer are none: with text handed over it ends here.
                    word = _fallback(step, value.error, note, refuse=bool(value.answer))
                    if word != REFUSE:
                        taken.failed = value
                        value = yield from doing.instead[word](taken)
        self._values[kind.gives] = value
        for name, of in doing.also.items():
            self._values[name] = of(value)

    def _taken(self, step: StepSpec) -> Taken:
        taken = [word.text for word in step.takes]
        values = {value: self._values[value] for value in taken if value in self._values}
        names = {
            slot.name: next(value for value in values if value in slot.values)
            for slot in KINDS[step.does.text].slots
            if any(value in slot.values for value in values)
        }

        def now(value: str) -> Any:
            assert value in taken, f"{step.name} does not take {value}"
            if value not in self._values and value not in self._failed:
                giver = self._workflow.step(GIVERS[value])
                assert giver is not None
                self.spans[:] = [s for s in self.spans if s.step != giver.name]  # not skipped
                self._do(giver)
            if value in self._failed:
                raise self._failed[value]
            return self._values[value]

        deadline = Deadline(step.name, self._seconds(step), clock=self._clock)
        return Taken(values=values, names=names, deadline=deadline, mode=self._mode, now=now)

    def _seconds(self, step: StepSpec) -> float:
        """What a step has. What is recorded is recorded, however late."""
        own = self._timeout_s if step.deadline_s is None else step.deadline_s
        whole = self._workflow.deadline_s
        if whole is None or step.does.text == "record":
            return own
        return min(own, max(0.0, self._started + whole - self._clock()))

    @contextmanager
    def _spanned(self, step: StepSpec) -> Iterator[_Note]:
        note, began = _Note(), self._clock()
        try:
            yield note
        except FAILURES:
            if note.outcome == "ok":  # a fallback that failed itself
                note.outcome = "refused"
            raise
        except (GeneratorExit, CancelledError):  # who asked has left
            note.outcome = "cancelled"
            raise
        except BaseException as error:  # the service ends, or a mistake of ours
            note.outcome, note.why = "refused", type(error).__name__
            raise
        finally:
            self.spans.append(
                Span(
                    step=step.name,
                    privacy=step.privacy.text,
                    start_s=began - self._started,
                    seconds=self._clock() - began,
                    outcome=note.outcome,
                    fallback=note.fallback,
                    why=note.why,
                )
            )

    def _skipped(self, step: StepSpec) -> Span:
        return Span(
            step=step.name,
            privacy=step.privacy.text,
            start_s=self._clock() - self._started,
            seconds=0.0,
            outcome="skipped",
            fallback="",
            why="",
        )


def _fallback(step: StepSpec, error: Exception, note: _Note, *, refuse: bool = False) -> str:
    """The fallback to be taken now, noted. Nobody waits for one who has left."""
    note.why = error.status if isinstance(error, GenerationError) else type(error).__name__
    if note.why == "CANCELLED":
        note.outcome = "cancelled"
        return REFUSE
    note.fallback = REFUSE if refuse else step.fallback.text
    late = note.why == "DEADLINE_EXCEEDED"
    note.outcome = "late" if late else "refused" if note.fallback == REFUSE else "fallback"
    return note.fallback
