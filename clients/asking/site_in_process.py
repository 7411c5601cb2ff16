"""A site's part of the corridor in this process, where no edge service runs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from time import perf_counter, process_time
from typing import TYPE_CHECKING

from clients.adapter_shelf import newest_shelf
from clients.asking.alone import alone, answers_alone
from clients.asking.ask import Answered, Wish
from clients.asking.cloud_link import CloudLink
from clients.asking.figures import Figures
from clients.asking.modes import Asked, Chooses, Event, answer_by
from clients.asking.permitted import mode_of, permitted, with_class
from clients.ledger.account import account
from clients.ledger.entry import Entry
from clients.ledger.journal import ledger_file
from clients.ledger.journal import record as record_entry
from clients.personal_part import in_use
from clients.place_card import read_facts
from clients.profiles.visit import Visit, visit
from clients.prompts.record import PromptRecord
from clients.routing.calibrating import calibration_of
from clients.routing.calibration import Calibration
from clients.routing.router import Router
from clients.workflow.trace import Trace
from clients.workflow.trace_file import keep as keep_trace
from clients.workflow.trace_file import trace_file
from clients.workflow.workflow_file import workflow_of
from fl.errors import FederationError
from fl.generation import TextPiece
from fl.network.state_file import NetworkRules, network_folder
from fl.prompt_format import edge_prompt
from fl.release import AdapterRelease
from fl.settings import Settings
from fl.site import Site
from fl.site_list import site_folder

if TYPE_CHECKING:  # torch is loaded only where no edge service runs
    from clients.edge_model import EdgeModel


class SiteInProcess:
    """One site after the other, with one edge model and one way to the cloud."""

    def __init__(
        self,
        settings: Settings,
        model: "EdgeModel",
        link: CloudLink,
        *,
        keep: Callable[[Entry], None] | None = None,
    ) -> None:
        """`keep` gets every request's entry; without it the site's ledger does, and its traces
        get the request's. Raises WorkflowError.
        """
        self._settings, self._model, self._link, self._keep = settings, model, link, keep
        self._workflow = workflow_of(settings)
        self._rules = NetworkRules(network_folder(settings))
        self._site: Site | None = None

    def at(self, site: Site, *, calibration: Calibration | None = None) -> "SiteInProcess":
        """The same, now at this site; mode=auto with this calibration or the site's own.

        Raises FederationError before its first release, BookError where mode=auto finds nothing
        in its book to be calibrated on.
        """
        self._release = load_site_adapter(self._model, self._settings, site)
        self._site, self._router = site, None
        if self._workflow.mode(self._settings.mode) == "auto":
            self._link.meter.look()  # while the site gets ready
            found = calibration or calibration_of(
                self._settings,
                site,
                self.enrich_many,
                lambda prompts: answers_alone(self._model, self._settings, prompts),
                base=self._model.base.fingerprint,
            )
            self._router = Router(self._settings, found, self._link.meter)
        return self

    def enrich_many(self, records: Sequence[PromptRecord]) -> list[str]:
        """Enriched prompts of the site's own records, as its adapter writes them now."""
        prompts = [edge_prompt(record.card, record.short) for record in records]
        most = self._settings.asking.enriched_tokens
        written = self._model.generate(prompts, max_new_tokens=most)
        return [text or r.short for text, r in zip(written, records, strict=True)]

    def ask(
        self,
        short: str,
        *,
        mode: str | None = None,
        person: str = "",
        card: str | None = None,
        deadline_s: float | None = None,
        wish: Wish = Wish(),  # noqa: B008 - frozen
    ) -> Iterator[Event]:
        """Ask at the site it is at, in the settings' mode and under its live card unless told.

        `person` has a profile there, else raises GenerationError; "" is nobody. A deadline bounds
        the request; here nobody asks the cloud for a place.
        """
        settings, site = self._settings, self._site
        assert site is not None
        rules = self._rules()
        wanted = mode_of(rules, site.id, mode or "", settings)
        wish = wish if deadline_s is None else replace(wish, deadline_s=deadline_s)
        theirs = visit(settings, site.id, person, short)
        started, began, before = perf_counter(), process_time(), self._link.crossed
        first = 0.0

        def record(figures: Figures) -> None:
            crossed = self._link.crossed
            entry = account(
                figures,
                request_id=asked.request_id,
                site_id=site.id,
                wanted=wanted,
                crossed=crossed.since(before) if crossed and before else None,
                first_seconds=first,
                cpu_seconds=process_time() - began,
                short_tokens=len(self._model.token_ids(short)),
                federation=self._release.federation,
                release=self._release.number,
            )
            if self._keep is not None:
                self._keep(entry)
            else:
                record_entry(ledger_file(settings, site.id), entry)

        asked = Asked(
            short=short,
            mode=permitted(rules, site.id, wanted, self._workflow),
            workflow=self._workflow,
            here=alone(
                self._model,
                settings,
                lambda: self._card(theirs) if card is None else card,
                theirs,
            ),
            channel=self._link.channel,
            settings=settings,
            site_id=site.id,
            started=started,
            wish=with_class(rules, site.id, wish),
            hidden=lambda: theirs.hidden,
            router=self._chooser,
            record=record,
            on_trace=self._trace,
        )
        for event in answer_by(asked):
            if isinstance(event, TextPiece):
                first = first or perf_counter() - started
            elif isinstance(event, Answered) and event.error is not None:
                raise event.error
            yield event

    def _chooser(self) -> Chooses:
        assert self._router is not None, "`at` makes it for mode=auto"
        return self._router

    def _trace(self, trace: Trace) -> None:
        if self._keep is None:
            keep_trace(trace_file(self._settings, trace.site_id), trace)

    def _card(self, theirs: Visit) -> str:
        """The card of this moment, for who asks."""
        settings, site = self._settings, self._site
        assert site is not None
        facts = read_facts(site_folder(settings, site.id) / "place.json", place=site.place)
        return theirs.card(facts, count_tokens=lambda text: len(self._model.token_ids(text)))


def load_site_adapter(model: "EdgeModel", settings: Settings, site: Site) -> AdapterRelease:
    """Set the release in use and the site's personal part from its shelf into the model.

    Raises FederationError where no release has reached the site yet, ReleaseError for one that the
    cloud has not signed.
    """
    shelf = newest_shelf(settings, site.id)
    release = shelf.current() if shelf else None
    if shelf is None or release is None:
        raise FederationError(
            f"No release has reached site {site.id} yet. Run ./run.sh simulate first."
        )
    model.set_adapter(in_use(shelf, release, settings, site, model.base.layers))
    return release
