"""A prompt's way through the edge service of a site, whoever brings it.

what is in use -> place card -> enrich (the model, here) -> disclose -> the cloud's answer
"""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter

from clients.asking.ask import Answered, Leaving, Wish, disclose_and_answer
from clients.asking.cloud_channel import CloudChannel
from clients.asking.enrichment import Enriched, as_enriched
from clients.edge_service.model_owner import GivenUp, ModelOwner
from clients.edge_service.serving import InUse, Serving
from clients.place_card import card_text, read_facts
from fl.errors import BookError, GenerationError
from fl.generation import Reply, TextPiece
from fl.prompt_format import edge_prompt
from fl.service_metrics import Meter, ServiceMetrics
from fl.settings import Settings
from fl.site import Site
from fl.site_list import site_folder

LONGEST_PROMPT = 4000  # characters

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


class Corridor:
    """One site's."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        owner: ModelOwner,
        serving: Serving,
        channel: CloudChannel,
        metrics: ServiceMetrics,
    ) -> None:
        self.site, self.metrics = site, metrics
        self._settings, self._owner = settings, owner
        self._serving, self._channel = serving, channel

    def in_use(self) -> InUse | None:
        """What people are served with; None before the first release."""
        return self._serving.now()

    def ask(
        self, short: str, wish: Wish, *, started: float, when_left: WhenLeft
    ) -> Iterator[Enrichment | Leaving | TextPiece | Answered]:
        """Enrichment, Leaving, pieces of the answer as they come, Answered.

        `started` is perf_counter() at the short prompt. Raises GenerationError where the site
        cannot enrich, and CancelledError where the asker has left before that.
        """
        with metered(self.metrics) as meter:
            enrichment = self.enrich(short, when_left=when_left)
            yield enrichment
            for event in disclose_and_answer(
                short,
                card=enrichment.card,
                enriched=enrichment.enriched,
                channel=self._channel,
                settings=self._settings,
                site_id=self.site.id,
                started=started,
                wish=wish,
                on_sent=lambda generation: when_left(generation.cancel),
            ):
                if isinstance(event, TextPiece):
                    meter.piece()
                elif isinstance(event, Answered):
                    count(meter, event.outcome)
                yield event

    def enrich(
        self, short: str, *, when_left: WhenLeft, max_new_tokens: int | None = None
    ) -> Enrichment:
        """The enriched prompt; the card's facts are of this moment. Raises as `ask` does."""
        if not short.strip() or len(short) > LONGEST_PROMPT:
            raise GenerationError(
                f"A short prompt has 1 to {LONGEST_PROMPT} characters, found {len(short)}.",
                status="INVALID_ARGUMENT",
            )
        in_use = self._serving.now()  # once: a swap from here on is for later prompts
        if in_use is None:
            raise GenerationError(
                f"No release has reached site {self.site.id} yet, so it cannot enrich prompts.",
                status="FAILED_PRECONDITION",
            )
        asking = self._settings.asking
        facts = self._facts()
        card, tokens, started = "", 0, perf_counter()

        def prompt_of(count_tokens: Callable[[str], int]) -> str:
            nonlocal card, tokens
            card = card_text(facts, budget=asking.card_tokens, count_tokens=count_tokens)
            prompt = edge_prompt(card, short)
            tokens = count_tokens(prompt)
            return prompt

        most = min(asking.enriched_tokens, max_new_tokens or asking.enriched_tokens)
        future = self._owner.write(prompt_of, in_use.adapter, max_new_tokens=most)
        when_left(future.cancel)
        try:
            written = future.result(timeout=asking.timeout_s)
        except TimeoutError:
            future.cancel()
            raise GenerationError(
                f"This site's model was busy for {asking.timeout_s:g} s (asking.timeout_s).",
                status="DEADLINE_EXCEEDED",
            ) from None
        model = self._owner.loaded.result()
        enriched = as_enriched(written.text, short, model, seconds=perf_counter() - started)
        return Enrichment(
            card=card, short=short, enriched=enriched, prompt_tokens=tokens, in_use=in_use
        )

    def _facts(self) -> dict[str, str]:
        file = site_folder(self._settings, self.site.id) / "place.json"
        try:
            return read_facts(file, place=self.site.place)
        except BookError:  # its text names a path, which an asker need not know
            raise GenerationError(
                f"place.json of site {self.site.id} must be one JSON object of texts, in UTF-8. "
                "Who runs the site must correct it.",
                status="FAILED_PRECONDITION",
            ) from None


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
