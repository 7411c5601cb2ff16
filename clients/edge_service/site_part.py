"""What a site does for a request by itself: card, enriched prompt, own answer, first layers.

All that the model writes, its owner writes; what is in use is taken once.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from time import perf_counter

from clients.asking.alone import lower_layers, nothing_added
from clients.asking.ask import Wish
from clients.asking.enrichment import Enriched, as_enriched
from clients.asking.modes import Here, OwnAnswer
from clients.edge_service.model_owner import ModelOwner
from clients.edge_service.serving import InUse, Serving
from clients.insight.acting.site_cache import RequestCache
from clients.orchestration.own_pace import OwnPace
from clients.place_card import read_facts
from clients.profiles.visit import Visit
from clients.splitting.lower_layers import LowerLayers
from clients.workflow.deadline import Deadline
from clients.writing import Written
from fl.adapter import Adapter
from fl.errors import BaseModelError, BookError, GenerationError, SettingsError
from fl.prompt_format import cloud_prompt, edge_prompt
from fl.settings import Settings
from fl.site import Site
from fl.site_list import site_folder

# Gets what gives up a piece of work; it is called when the asker has left, now if it has already.
WhenLeft = Callable[[Callable[[], object]], None]


@dataclass(frozen=True, kw_only=True)
class Enrichment:
    """What the site made of a short prompt. Texts stay out of its repr."""

    card: str = field(repr=False)
    short: str = field(repr=False)
    enriched: Enriched
    prompt_tokens: int  # that the model read
    in_use: InUse  # what it was written with
    cpu_seconds: float = 0.0  # of writing it
    kept: bool = False  # it had been written before


class SitePart:
    """One site's, for all its requests."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        owner: ModelOwner,
        serving: Serving,
        pace: OwnPace,
    ) -> None:
        self._settings, self._site = settings, site
        self._owner, self._serving, self._pace = owner, serving, pace
        self._plain: Adapter | None = None

    def in_use(self) -> InUse | None:
        """What people are served with; None before the first release."""
        return self._serving.now()

    def here(
        self,
        *,
        visit: Visit,
        wish: Wish,
        when_left: WhenLeft,
        on_enriched: Callable[[Enrichment], None],
        on_own: Callable[[Written], None],
        cache: RequestCache | None = None,
    ) -> Here:
        """The part of one request. Its calls raise as `enrich` does."""

        def enrich(card: str, short: str, deadline: Deadline) -> Enriched:
            seconds = deadline.left()
            with self._pace.enriching() as work:
                enrichment = self.enrich(
                    short,
                    visit=visit,
                    card=card,
                    when_left=when_left,
                    seconds=seconds,
                    cache=cache,
                )
                work.tokens = 0 if enrichment.kept else enrichment.enriched.new_tokens
            on_enriched(enrichment)
            return enrichment.enriched

        def answer(enriched: str, deadline: Deadline) -> OwnAnswer:
            with self._pace.answering() as work:
                own = self._own_answer(enriched, wish, when_left, deadline.left())
                work.tokens = len(own.written.nats)
            on_own(own.written)
            return own

        return Here(
            card=lambda: self.card(visit),
            enrich=enrich,
            answer=answer,
            lower=self._lower,
            fingerprint=self._owner.loaded.result().base.fingerprint,
        )

    def card(self, visit: Visit) -> str:
        """The card of this moment, for who asks. Raises GenerationError for no place.json."""
        file = site_folder(self._settings, self._site.id) / "place.json"
        try:
            facts = read_facts(file, place=self._site.place)
        except BookError:  # its text names a path, which an asker need not know
            raise GenerationError(
                f"place.json of site {self._site.id} must be one JSON object of texts, in UTF-8. "
                "Who runs the site must correct it.",
                status="FAILED_PRECONDITION",
            ) from None
        return visit.card(facts, count_tokens=self.count_tokens)

    def enrich(
        self,
        short: str,
        *,
        visit: Visit,
        card: str,
        when_left: WhenLeft,
        max_new_tokens: int | None = None,
        seconds: float | None = None,
        cache: RequestCache | None = None,
    ) -> Enrichment:
        """The enriched prompt, within `seconds` (asking.timeout_s). Raises GenerationError or
        GivenUp where the site cannot make one, and CancelledError where the asker has left before.
        """
        in_use = self._serving.now()  # once: a swap from here on is for later prompts
        if in_use is None:
            raise GenerationError(
                f"No release has reached site {self._site.id} yet, so it cannot enrich prompts.",
                status="FAILED_PRECONDITION",
            )
        started, prompt = perf_counter(), edge_prompt(card, short)
        limit = self._settings.asking.enriched_tokens
        most = min(limit, max_new_tokens or limit)
        kept = cache.enriched(in_use.digest, card, short, most) if cache else None
        if kept is not None:
            enriched, cpu_seconds = replace(kept, seconds=perf_counter() - started), 0.0
        else:
            written = self._written(prompt, in_use.adapter, most, when_left, seconds)
            model, took_s = self._owner.loaded.result(), perf_counter() - started
            enriched = as_enriched(written.text, short, model, seconds=took_s)
            cpu_seconds = written.cpu_seconds
            if cache:
                cache.keep_enriched(enriched)
        visit.remember(enriched.text)
        return Enrichment(
            card=card,
            short=short,
            enriched=enriched,
            prompt_tokens=self.count_tokens(prompt),
            in_use=in_use,
            cpu_seconds=cpu_seconds,
            kept=kept is not None,
        )

    def count_tokens(self, text: str) -> int:
        """By the edge model's tokenizer; on any thread."""
        return len(self._owner.loaded.result().token_ids(text))

    def _own_answer(
        self, enriched: str, wish: Wish, when_left: WhenLeft, seconds: float
    ) -> OwnAnswer:
        """The base's, with nothing added: greedy whatever the wish, never longer than
        asking.answer_tokens, for others wait for the same model.
        """
        if self._plain is None:
            self._plain = nothing_added(self._owner.loaded.result())
        started, prompt = perf_counter(), cloud_prompt(enriched)
        limit = self._settings.asking.answer_tokens
        most = min(limit, wish.max_new_tokens or limit)
        written = self._written(prompt, self._plain, most, when_left, seconds)
        return OwnAnswer(
            written=written,
            tokens=self.count_tokens(prompt),
            seconds=perf_counter() - started,
            limit=most,
        )

    def _written(
        self, prompt: str, adapter: Adapter, most: int, when_left: WhenLeft, seconds: float | None
    ) -> Written:
        timeout_s = self._settings.asking.timeout_s if seconds is None else seconds
        future = self._owner.write(lambda _: prompt, adapter, max_new_tokens=most)
        when_left(future.cancel)
        try:
            return future.result(timeout=timeout_s)
        except TimeoutError:
            future.cancel()
            raise GenerationError(
                f"This site's model was busy for {float(f'{timeout_s:.3g}'):g} s "
                "(asking.timeout_s, or its step's deadline_s).",
                status="DEADLINE_EXCEEDED",
            ) from None

    def _lower(self) -> LowerLayers:
        try:
            return lower_layers(self._settings)
        except (BaseModelError, SettingsError) as error:  # its text names a path
            raise GenerationError(
                f"Site {self._site.id} cannot run the first layers of the cloud's model "
                f"({type(error).__name__}). Who runs the site must give it a copy (cloud.model), "
                "or other layers (split.layers, split.memory_mb).",
                status="FAILED_PRECONDITION",
            ) from None
