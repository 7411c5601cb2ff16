"""Steps that note what they get: whatever reaches the wire or the ledger can be looked at.

What sends, sends all it has in its hands but the draft, which the asker gets.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

from clients.workflow.execution import Doing, Execution, Taken
from clients.workflow.steps import EDGE, SHORT
from clients.workflow.workflow import Workflow
from fl.errors import GenerationError

CANARY = "zanzibar"
PROMPT = f"{CANARY} short"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the streaming step comes to."""

    answer: str
    error: GenerationError | None
    by: str


@dataclass(kw_only=True)
class Fakes:
    """`fails` and `takes_s` by the kind of step; `sent` and `kept` is what went out of the site."""

    clock: Clock = field(default_factory=Clock)
    fails: Mapping[str, Exception] = field(default_factory=dict)
    takes_s: Mapping[str, float] = field(default_factory=dict)
    keeps: bool = False  # auto keeps the draft
    spoken: str = ""  # text that comes before the cloud fails
    sent: list[Any] = field(default_factory=list)
    kept: list[Any] = field(default_factory=list)
    done: list[str] = field(default_factory=list)  # kinds, in the order they were done
    given: dict[str, Mapping[str, Any]] = field(default_factory=dict)  # what each had in its hands

    def execution(self, workflow: Workflow, mode: str = "synergy") -> Execution:
        return Execution(
            workflow,
            self.doings(),
            mode=workflow.mode(mode),
            short=PROMPT,
            timeout_s=60,
            started=self.clock.now,
            clock=self.clock,
        )

    def run(self, workflow: Workflow, mode: str = "synergy") -> Any:
        """Execute; the answer."""
        running = self.execution(workflow, mode).run()
        try:
            while True:
                next(running)
        except StopIteration as end:
            return end.value

    def doings(self) -> Mapping[str, Doing]:
        return {
            "profile": Doing(do=self._step("profile", lambda taken: f"{CANARY} card")),
            "enrich": Doing(
                do=self._step("enrich", lambda taken: f"{CANARY} enriched"),
                instead={SHORT: lambda taken: taken.slot("short")},
            ),
            "draft": Doing(do=self._step("draft", lambda taken: f"{CANARY} draft")),
            "disclose": Doing(
                do=self._step(
                    "disclose", lambda taken: taken.slot("text").replace(CANARY, "[masked]")
                )
            ),
            "route": Doing(do=self._step("route", self._way), instead={EDGE: lambda taken: "edge"}),
            "generate": Doing(
                do=self._generate,
                instead={EDGE: self._own},
                also={"figures": lambda answer: len(answer.answer)},
            ),
            "record": Doing(do=self._step("record", lambda taken: self.kept.append(taken.values))),
        }

    def _step(self, kind: str, give: Callable[[Taken], Any]) -> Callable[[Taken], Any]:
        def do(taken: Taken) -> Any:
            self._begun(kind, taken)
            return give(taken)

        return do

    def _begun(self, kind: str, taken: Taken) -> None:
        self.done.append(kind)
        self.given[kind] = dict(taken.values)
        self.clock.now += self.takes_s.get(kind, 0)
        if kind in self.fails:
            raise self.fails[kind]

    def _way(self, taken: Taken) -> str:
        if taken.mode != "auto":
            return taken.mode
        return "edge" if self.keeps and "draft" in taken.values else "synergy"

    def _generate(self, taken: Taken) -> Generator[str, None, Answer]:
        if taken.slot("way") == "edge":
            return (yield from self._own(taken))
        self.sent += [taken.values[name] for name in taken.values if name not in ("way", "draft")]
        try:
            self._begun("generate", taken)
        except GenerationError as error:
            if self.spoken:
                yield self.spoken
            return Answer(answer=self.spoken, error=error, by="cloud")
        yield "said"
        return Answer(answer="said", error=None, by="cloud")

    def _own(self, taken: Taken) -> Generator[str, None, Answer]:
        draft = taken.now("draft")
        yield draft
        return Answer(answer=draft, error=None, by="site")
