"""What the steps of a workflow do when somebody asks: the site's part, the door, the choice."""

from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from clients.asking.ask import Answered
from clients.asking.disclosure import Disclosed, disclose
from clients.asking.enrichment import Enriched, unenriched
from clients.asking.figures import figures_of
from clients.asking.generating import Events, Generating
from clients.workflow.execution import Doing, Taken
from clients.workflow.steps import EDGE, SHORT
from fl.errors import GenerationError

if TYPE_CHECKING:
    from clients.asking.modes import Asked, Chooses, OwnAnswer
    from clients.orchestration.placing import Place


class AskingSteps:
    """Of one request."""

    def __init__(self, asked: "Asked", mode: str) -> None:
        """`mode` is the workflow's for this request."""
        self._asked, self.mode = asked, mode
        self._generating = Generating(asked)
        self._chooser: Chooses | None = None
        self._why_none: GenerationError | None = None
        self._place: Place | None = None
        self._used_place = False

    @property
    def way(self) -> str:
        """The mode that is on it: edge, cloud, split or synergy; auto begins as edge."""
        return self._generating.way or ("edge" if self.mode == "auto" else self.mode)

    def doings(self) -> Mapping[str, Doing]:
        """Every kind of step."""
        generating = self._generating
        return {
            "profile": Doing(do=self._profile),
            "enrich": Doing(do=self._enrich, instead={SHORT: self._short}),
            "draft": Doing(do=self._draft),
            "disclose": Doing(do=self._disclose),
            "route": Doing(do=self._route, instead={EDGE: lambda taken: "edge"}),
            "generate": Doing(
                do=generating.answer,
                instead={EDGE: self._own_instead},
                also={"figures": figures_of},
            ),
            "record": Doing(do=lambda taken: self._asked.record(taken.slot("figures"))),
        }

    def ask_for_place(self) -> None:
        """Ask the cloud for a place, where the request has a deadline; returns at once."""
        asked = self._asked
        if asked.wants_place and asked.placing is not None:
            self._place = asked.placing.begin(
                self._generating.cloud_id,
                started=asked.started,
                deadline_s=asked.deadline_s,
                drafts=self.mode == "auto",
            )

    def leave_place(self, *, answered: bool) -> None:
        """The request has ended; a place where it was not answered is free again."""
        if self._place is not None and not (self._used_place and answered):
            self._place.give_back()

    def look_ahead(self, *, refuse: bool) -> None:
        """Have auto's chooser begin. Raises GenerationError where there is none and `refuse`."""
        try:
            self._chooser = self._asked.router()
            self._chooser.look()
        except GenerationError as error:
            if refuse:
                raise
            self._why_none = error

    def _own_instead(self, taken: Taken) -> Events:
        """The site's own answer where the cloud failed; what had left then has left."""
        if taken.failed is not None:
            self.learn(taken.failed)
        return self._generating.own(taken)

    def learn(self, answered: Answered) -> None:
        """Tell who decides for auto what became of it; a kept answer tells nothing of the cloud."""
        if answered.cached:
            self._used_place = False
            return
        if self._chooser is not None:
            self._chooser.learn(answered)
        elif self._place is not None and self._asked.placing is not None:
            self._asked.placing.learn(answered)

    def _profile(self, taken: Taken) -> str:
        """The card: what the place knows now, and what it keeps of the person who asks."""
        self._generating.card = self._asked.here.card()
        return self._generating.card

    def _enrich(self, taken: Taken) -> Enriched:
        card = taken.slot("card", "")
        enriched = self._asked.here.enrich(card, taken.slot("short"), taken.deadline)
        self._generating.enriched = enriched
        return enriched

    def _short(self, taken: Taken) -> Enriched:
        enriched = unenriched(taken.slot("short"), fell_back=True)
        self._generating.enriched = enriched
        return enriched

    def _draft(self, taken: Taken) -> "OwnAnswer":
        began = perf_counter()
        own = self._asked.here.answer(_text(taken.slot("text")), taken.deadline)
        self._generating.own_seconds = perf_counter() - began
        return own

    def _disclose(self, taken: Taken) -> Disclosed:
        """The last door; there is no other."""
        self._generating.bare = taken.names["text"] == SHORT
        asked = self._asked
        return disclose(_text(taken.slot("text")), asked.settings.asking, hidden=asked.hidden())

    def _route(self, taken: Taken) -> str:
        """edge, cloud, split or synergy."""
        if taken.mode == "synergy":
            return "edge" if self._at_the_site(taken) else "synergy"
        if taken.mode != "auto":
            return taken.mode
        draft: OwnAnswer | None = taken.slot("draft")
        if draft is None:  # its step went on without
            return "synergy"
        if self._chooser is None:
            assert self._why_none is not None
            raise self._why_none
        if self._chooser.keeps(draft.written):
            return "edge"
        return "edge" if self._at_the_site(taken, has_answer=True) else "synergy"

    def _at_the_site(self, taken: Taken, *, has_answer: bool = False) -> bool:
        """Is it answered here for want of time? Raises GenerationError (RESOURCE_EXHAUSTED) where
        it is shed.
        """
        if self._place is None:
            return False
        verdict = self._place.verdict(within_s=taken.deadline.left())
        if verdict.place == "shed" and not has_answer:
            raise GenerationError(
                f"Nobody can answer within the deadline: there is too little {verdict.short_of}. "
                "Allow more seconds, or try again later.",
                status="RESOURCE_EXHAUSTED",
            )
        self._used_place = verdict.place == "cloud"
        return not self._used_place


def _text(value: Any) -> str:
    return value.text if isinstance(value, Enriched) else str(value)
