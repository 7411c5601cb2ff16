"""A workflow as read from its file, and the order its steps run in."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from clients.workflow.privacy import CLASSES, Privacy
from clients.workflow.steps import GIVERS, KINDS, MODES, REQUEST
from fl.errors import SettingsError


class WorkflowError(SettingsError):
    """A workflow file that is not executed; the text names file, line and remedy."""


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word of the file, and the line it stands in."""

    text: str
    line: int


@dataclass(frozen=True, kw_only=True)
class StepSpec:
    """One step, as the file says it."""

    name: str
    line: int
    does: Word  # its kind
    takes: tuple[Word, ...]  # values
    after: tuple[Word, ...]  # steps it waits for, beside those that give what it takes
    modes: tuple[Word, ...]  # in which it is done; () is all
    deadline_s: float | None  # None: asking.timeout_s
    privacy: Word  # class of what it gives
    fallback: Word
    mode: Word  # of route: request, or the one mode of this workflow

    @property
    def privacy_class(self) -> Privacy:
        """The class it declares; the word has been checked."""
        return CLASSES[self.privacy.text]

    def done_in(self, mode: str) -> bool:
        """Is it a step of this mode?"""
        return not self.modes or mode in {word.text for word in self.modes}


@dataclass(frozen=True, kw_only=True)
class Workflow:
    """A checked file; `steps` in the file's order."""

    source: str  # the file, as the settings name it
    digest: str  # sha256 of its bytes, the first 12 digits
    line: int  # where `steps` begins
    steps: tuple[StepSpec, ...]
    deadline_s: float | None  # of a whole request; None: no more than its steps'

    def within(self, seconds: float) -> "Workflow":
        """The same for a request that has so many seconds; 0 is no bound."""
        if not seconds:
            return self
        return replace(self, deadline_s=min(seconds, self.deadline_s or seconds))

    def refuse(self, line: int, text: str) -> WorkflowError:
        """The error of a line of this file."""
        return WorkflowError(f"{self.source}, line {line}: {text}")

    def step(self, kind: str) -> StepSpec | None:
        """The step of this kind."""
        return next((step for step in self.steps if step.does.text == kind), None)

    def mode(self, wanted: str) -> str:
        """The mode of a request that wants this one."""
        route = self.step("route")
        fixed = route.mode.text if route else REQUEST
        return wanted if fixed == REQUEST else fixed

    @property
    def modes(self) -> tuple[str, ...]:
        """The modes that a request can come to."""
        return tuple(dict.fromkeys(self.mode(mode) for mode in MODES))

    def longest_s(self, timeout_s: float) -> float:
        """The most seconds a request may take; `timeout_s` is of steps without a deadline."""
        each = sum(timeout_s if s.deadline_s is None else s.deadline_s for s in self.steps)
        record = self.step("record")
        if self.deadline_s is None or record is None:
            return each
        last = timeout_s if record.deadline_s is None else record.deadline_s
        return min(each, self.deadline_s + last)

    def before(self, step: StepSpec) -> Iterator[tuple[StepSpec, Word]]:
        """Steps that a step waits for, each with the word that says so."""
        by_name = {each.name: each for each in self.steps}
        for word in step.takes:
            giver = self.step(GIVERS[word.text]) if word.text in GIVERS else None
            if giver is not None:
                yield giver, word
        for word in step.after:
            yield by_name[word.text], word

    def in_order(self) -> Sequence[StepSpec]:
        """Each step behind those it waits for, else as in the file.

        Raises WorkflowError where steps wait for each other.
        """
        order: list[StepSpec] = []
        path: list[StepSpec] = []  # each waits for the next
        words: list[Word] = []  # that say so

        def visit(step: StepSpec) -> None:
            if step in order:
                return
            path.append(step)
            for other, word in self.before(step):
                words.append(word)
                if other in path:
                    at = path.index(other)
                    raise self._cycle(path[at:], words[at:])
                visit(other)
                words.pop()
            path.pop()
            order.append(step)

        for step in self.steps:
            visit(step)
        return order

    def _cycle(self, steps: Sequence[StepSpec], words: Sequence[Word]) -> WorkflowError:
        """`words[i]` says that `steps[i]` waits; an `after` among them is the one to blame."""
        blamed = [w for s, w in zip(steps, words, strict=True) if w in s.after]
        line = (blamed or words)[-1].line
        if len(steps) == 1:
            return self.refuse(line, f"step {steps[0].name} waits for itself; take that away.")
        waits = " waits for ".join([*(step.name for step in steps), steps[0].name])
        return self.refuse(line, f"steps wait for each other: {waits}; take this away.")


def gives(step: StepSpec) -> dict[str, Privacy]:
    """The values of a step and their classes."""
    kind = KINDS[step.does.text]
    main = {kind.gives: step.privacy_class} if kind.gives else {}
    return {**main, **kind.also}
