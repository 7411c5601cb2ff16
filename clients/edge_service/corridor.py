"""A prompt's way through the edge service of a site, whoever brings it.

short prompt, mode -> the workflow's steps (asking/modes.py), what the site does itself in
site_part.py -> the figures, a line in the site's ledger and one in its traces
"""

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from math import inf

from clients.asking.ask import Answered, Leaving, Wish
from clients.asking.cloud_channel import CloudChannel
from clients.asking.modes import MODES, Asked, Chooses, answer_by
from clients.asking.permitted import is_denied, mode_of, permitted, with_class
from clients.edge_service.model_owner import GivenUp, ModelOwner
from clients.edge_service.request_ledger import RequestLedger, Tab
from clients.edge_service.serving import InUse, Serving
from clients.edge_service.site_part import Enrichment as Enrichment
from clients.edge_service.site_part import SitePart
from clients.edge_service.site_part import WhenLeft as WhenLeft
from clients.insight.acting.site_cache import SiteCache
from clients.orchestration.own_pace import OwnPace
from clients.orchestration.placing import Placing
from clients.profiles.visit import Visit, visit
from clients.workflow.workflow import Workflow
from clients.writing import Written
from fl.errors import GenerationError
from fl.generation import Reply, TextPiece
from fl.network.rules import Rules
from fl.service_metrics import Meter, ServiceMetrics
from fl.settings import Settings
from fl.site import Site

LONGEST_PROMPT = 4000  # characters

Event = Enrichment | Leaving | TextPiece | Answered
Events = Generator[Leaving | TextPiece | Answered, None, None]


class Corridor:
    """One site's."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        workflow: Workflow,
        owner: ModelOwner,
        serving: Serving,
        channel: CloudChannel,
        metrics: ServiceMetrics,
        ledger: RequestLedger,
        router: Callable[[], Chooses],
        pace: OwnPace,
        placing: Placing | None,
        rules: Callable[[], Rules],
        cache: SiteCache | None = None,
    ) -> None:
        """`rules` looks up what management has set. `router` gives who decides for auto; it may
        take a while and raise GenerationError.
        """
        self.site, self.metrics, self.ledger, self.workflow = site, metrics, ledger, workflow
        self._settings, self._channel, self._router = settings, channel, router
        self._placing, self._cache = placing, cache
        self.rules = rules
        self._part = SitePart(settings, site, owner=owner, serving=serving, pace=pace)

    def in_use(self) -> InUse | None:
        """What people are served with; None before the first release."""
        return self._part.in_use()

    @property
    def denied(self) -> bool:
        """Does a filter keep the site from the cloud?"""
        return is_denied(self.rules(), self.site.id)

    def visit(self, person: str, short: str) -> Visit:
        """A request's, by its person; "" is nobody. Raises GenerationError for an unknown one."""
        return visit(self._settings, self.site.id, person, short)

    def ask(
        self,
        short: str,
        wish: Wish,
        *,
        started: float,
        when_left: WhenLeft,
        mode: str = "",
        person: str = "",
    ) -> Iterator[Event]:
        """Enrichment where the mode has one, Leaving, pieces of the answer as they come, Answered.

        `started` is perf_counter() at the short prompt; mode "" is that of the settings, person ""
        is nobody. Nothing leaves before Leaving has been taken. Raises GenerationError where the
        site cannot do its part, and CancelledError where the asker has left before that.
        """
        rules = self.rules()
        mode = mode_of(rules, self.site.id, mode, self._settings)
        wish = with_class(rules, self.site.id, wish)
        with metered(self.metrics) as meter:
            if mode not in MODES:  # it may be any text, so it is not repeated
                raise GenerationError(
                    f"The mode is one of {', '.join(MODES)}.", status="INVALID_ARGUMENT"
                )
            mode = permitted(rules, self.site.id, mode, self.workflow)
            check_prompt(short)
            check_deadline(wish)
            theirs, way = self.visit(person, short), self.workflow.mode(mode)
            with self.ledger.request(self.site.id, mode, short, started=started, way=way) as tab:
                kept = self._cache.request(theirs) if self._cache else None
                walk = _Walk(tab, meter, when_left)
                here = self._part.here(
                    visit=theirs,
                    wish=wish,
                    when_left=walk.when_left,
                    on_enriched=walk.enriched,
                    on_own=walk.own,
                    cache=kept,
                )
                asked = Asked(
                    short=short,
                    mode=mode,
                    workflow=self.workflow,
                    here=here,
                    channel=self._channel,
                    settings=self._settings,
                    site_id=self.site.id,
                    started=started,
                    request_id=tab.request_id,
                    wish=wish,
                    hidden=lambda: theirs.hidden,
                    router=self._router,
                    when_left=walk.when_left,
                    record=tab.ends,
                    on_trace=tab.trace,
                    answers=kept,
                    placing=self._placing,
                )
                if asked.wants_place:
                    tab.on_the_line()
                yield from walk.walked(answer_by(asked))

    def enrich(
        self,
        short: str,
        *,
        when_left: WhenLeft,
        max_new_tokens: int | None = None,
        person: str = "",
    ) -> Enrichment:
        """The enriched prompt; the card's facts are of this moment. Raises as `ask` does."""
        check_prompt(short)
        theirs = self.visit(person, short)
        return self._part.enrich(
            short,
            visit=theirs,
            card=self._part.card(theirs),
            when_left=when_left,
            max_new_tokens=max_new_tokens,
            cache=self._cache.request(theirs) if self._cache else None,
        )


class _Walk:
    """One request's events, told to its meter and its tab."""

    def __init__(self, tab: Tab, meter: Meter, when_left: WhenLeft) -> None:
        self._tab, self._meter, self._when_left = tab, meter, when_left
        self._enrichment: Enrichment | None = None
        self._give_up: Callable[[], object] | None = None  # the newest piece of work

    def when_left(self, give_up: Callable[[], object]) -> None:
        self._give_up = give_up
        self._when_left(give_up)

    def enriched(self, enrichment: Enrichment) -> None:
        self._enrichment = enrichment
        self._tab.release = enrichment.in_use.release
        self._tab.kept_enriched = enrichment.kept
        self._tab.model_cpu_seconds += enrichment.cpu_seconds

    def own(self, written: Written) -> None:
        self._tab.model_cpu_seconds += written.cpu_seconds

    def walked(self, events: Events) -> Iterator[Event]:
        try:
            for event in events:
                if isinstance(event, TextPiece):
                    self._meter.piece()
                    self._tab.piece()
                    yield event
                elif isinstance(event, Answered):
                    count(self._meter, event.outcome)
                    yield event
                else:
                    self._give_up = None  # what the site did has been done; nothing has been sent
                    if self._enrichment is not None:
                        yield self._enrichment
                    yield event
                    self._tab.leaves(event)
        except GeneratorExit:  # the asker has left
            if self._give_up is not None and not self._tab.ended:
                self._tab.left = True
                self._give_up()
                for _ in events:  # it says at once what it has cost, and is recorded
                    pass
            raise
        finally:
            events.close()


def check_prompt(short: str) -> None:
    """Raise GenerationError (INVALID_ARGUMENT) for what is no short prompt."""
    if not short.strip() or len(short) > LONGEST_PROMPT:
        raise GenerationError(
            f"A short prompt has 1 to {LONGEST_PROMPT} characters, found {len(short)}.",
            status="INVALID_ARGUMENT",
        )


def check_deadline(wish: Wish) -> None:
    """Raise GenerationError (INVALID_ARGUMENT) for a deadline that is none."""
    if wish.deadline_s is not None and not 0 <= wish.deadline_s < inf:
        raise GenerationError(
            "A deadline is a number of seconds, 0 for no bound.", status="INVALID_ARGUMENT"
        )


@contextmanager
def metered(metrics: ServiceMetrics) -> Iterator[Meter]:
    """A meter for the block; who leaves it before an end was told is counted too."""
    meter = metrics.begin()
    try:
        yield meter
    except GenerationError as error:
        meter.refused(error.status)
        raise
    except GivenUp:
        meter.refused("UNAVAILABLE")
        raise
    except (GeneratorExit, CancelledError):
        meter.end("cancelled")
        raise
    except BaseException:
        meter.end("internal")
        raise
    meter.end("cancelled")


def count(meter: Meter, outcome: Reply | GenerationError) -> None:
    """Tell the meter how an answer ended."""
    if isinstance(outcome, Reply):
        meter.end(
            outcome.finish_reason,
            prompt_tokens=outcome.prompt_tokens,
            completion_tokens=outcome.completion_tokens,
        )
    else:
        meter.end(outcome.status)
