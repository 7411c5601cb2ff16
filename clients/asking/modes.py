"""The ways a short prompt can be answered, behind one door: a request's way through the workflow.

edge      enrich and answer, both here (GPT-2); nothing leaves
cloud     the short prompt itself, disclosed, is what the cloud's LLaMA answers
split     the LLaMA's first layers run here on the short prompt; hidden states leave, no text
synergy   enrich here, disclose, answer there (NetGPT)
auto      as edge, unless the answer's score is too low for what the link would cost: synergy
"""

import time
import uuid
from collections.abc import Callable, Generator
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

from clients.asking.ask import Answered, Leaving, Wish
from clients.asking.cloud_channel import CloudChannel
from clients.asking.enrichment import Enriched
from clients.asking.figures import Figures, figures_of
from clients.asking.steps import AskingSteps
from clients.profiles.hidden import NOTHING_HIDDEN, Hidden
from clients.workflow.deadline import Deadline
from clients.workflow.execution import Execution
from clients.workflow.steps import MODES as MODES
from clients.workflow.steps import REFUSE
from clients.workflow.trace import Trace
from clients.workflow.workflow import Workflow
from fl.errors import GenerationError, NetGPTError
from fl.generation import Reply, TextPiece
from fl.settings import Settings

if TYPE_CHECKING:  # torch is loaded only where a model runs
    from clients.orchestration.placing import Placing
    from clients.splitting.lower_layers import LowerLayers
    from clients.writing import Written

Event = Leaving | TextPiece | Answered


@dataclass(frozen=True, kw_only=True)
class OwnAnswer:
    """What the edge model answers by itself."""

    written: "Written"
    tokens: int  # of its prompt
    seconds: float
    limit: int | None = None  # tokens it was allowed, where not as many as wished for


@dataclass(frozen=True, kw_only=True)
class Here:
    """What a site can do by itself. Who gets a deadline keeps it, or raises GenerationError."""

    card: Callable[[], str]
    enrich: Callable[[str, str, Deadline], Enriched]  # card, short
    answer: Callable[[str, Deadline], OwnAnswer]  # to an enriched prompt
    lower: Callable[[], "LowerLayers"]  # loads them at the first split
    fingerprint: str  # of the edge model's base


class KeptAnswers(Protocol):
    """Answers that the site keeps; insight/acting/site_cache.py does, for one request."""

    def find(self, disclosed: str, wish: Wish) -> Reply | None:
        """The very answer to it, if it is kept."""

    def keep(self, disclosed: str, wish: Wish, reply: Reply) -> None:
        """A whole answer came."""


class Chooses(Protocol):
    """Decides for mode=auto; routing/router.py does."""

    def look(self) -> None:
        """A request begins."""

    def keeps(self, written: "Written") -> bool:
        """Is the site's own answer good enough?"""

    def learn(self, answered: Answered) -> None:
        """What became of a request."""


def new_request_id() -> str:
    """Random; unlinked to who asks."""
    return uuid.uuid4().hex[:16]


def _nobody() -> Chooses:
    raise AssertionError("only auto asks whether an own answer is good enough")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request on its way."""

    short: str = field(repr=False)
    mode: str  # that is wanted; the workflow may fix another
    workflow: Workflow
    here: Here
    channel: CloudChannel
    settings: Settings
    site_id: str
    started: float  # perf_counter() at the short prompt
    request_id: str = field(default_factory=new_request_id)
    wish: Wish = field(default_factory=Wish)
    router: Callable[[], Chooses] = _nobody  # for auto; may take a while, raises GenerationError
    hidden: Callable[[], Hidden] = lambda: NOTHING_HIDDEN  # of who asks; taken before disclosure
    when_left: Callable[[Callable[[], object]], None] = lambda give_up: None
    record: Callable[[Figures], None] = lambda figures: None
    on_trace: Callable[[Trace], None] = lambda trace: None
    answers: "KeptAnswers | None" = None  # what the site keeps of answers
    placing: "Placing | None" = None  # asks the cloud for a place where there is a deadline

    @property
    def deadline_s(self) -> float:
        """Seconds the request has; 0 for no bound."""
        wished = self.wish.deadline_s
        return self.settings.orchestration.deadline_s if wished is None else wished

    @property
    def wants_place(self) -> bool:
        """Is the cloud asked for a place?"""
        in_question = self.workflow.mode(self.mode) in ("synergy", "auto")
        return in_question and self.placing is not None and self.deadline_s > 0


def answer_by(asked: Asked) -> Generator[Event, None, None]:
    """Leaving, pieces of the answer, Answered; nothing leaves before Leaving has been taken.

    The trace is told before Answered comes, and whenever the request ends without. Raises
    GenerationError for a mode that does not exist, and what a step raises whose fallback is to
    refuse; CancelledError where the asker has left before.
    """
    if asked.mode not in MODES:
        raise GenerationError(
            f"mode is one of {', '.join(MODES)}; found {asked.mode!r}.", status="INVALID_ARGUMENT"
        )
    workflow = asked.workflow.within(asked.deadline_s)
    steps = AskingSteps(asked, workflow.mode(asked.mode))
    execution = Execution(
        workflow,
        steps.doings(),
        mode=steps.mode,
        short=asked.short,
        timeout_s=asked.settings.asking.timeout_s,
        started=asked.started,
    )
    figures, outcome = None, "INTERNAL"
    try:
        steps.ask_for_place()  # the cloud is asked while the site writes
        if steps.mode == "auto":  # the link is measured while the site writes
            steps.look_ahead(refuse=_refuses(workflow))
        answered: Answered = yield from execution.run()
        figures = figures_of(answered)
        steps.learn(answered)
    except NetGPTError as error:
        outcome = getattr(error, "status", outcome)
        raise
    except (GeneratorExit, CancelledError):
        outcome = "cancelled"
        raise
    finally:
        steps.leave_place(answered=figures is not None and figures.outcome in ("stop", "length"))
        asked.on_trace(
            Trace(
                request_id=asked.request_id,
                site_id=asked.site_id,
                at=time.time(),
                workflow=workflow.digest,
                wanted=asked.mode,
                mode=figures.mode if figures else steps.way,
                outcome=figures.outcome if figures else outcome,
                seconds=perf_counter() - asked.started,
                steps=tuple(execution.spans),
            )
        )
    yield answered


def _refuses(workflow: Workflow) -> bool:
    route = workflow.step("route")
    return route is None or route.fallback.text == REFUSE
