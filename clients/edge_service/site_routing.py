"""auto at the sites of one service: each has a calibration of its own, all have one link."""

from collections.abc import Callable, Sequence
from threading import Lock

from clients.asking.alone import nothing_added
from clients.asking.cloud_channel import CloudChannel
from clients.edge_service.model_owner import MOST_TOGETHER, ModelOwner
from clients.edge_service.serving import Serving
from clients.prompts.record import PromptRecord
from clients.routing.calibrating import calibration_of
from clients.routing.calibration import Calibration
from clients.routing.link_meter import LinkMeter, measure_link
from clients.routing.router import Router
from clients.routing.threshold import LinkState
from clients.writing import Written
from fl.adapter import Adapter
from fl.errors import BookError, GenerationError
from fl.prompt_format import cloud_prompt, edge_prompt
from fl.settings import Settings
from fl.site import Site


def meter_of(settings: Settings, aside: CloudChannel, site_id: str) -> LinkMeter:
    """The service's meter; what it sends is no request's."""

    def measure() -> LinkState:
        return measure_link(aside, site_id)

    return LinkMeter(measure, fresh_s=settings.routing.measure_s)


class SiteRouting:
    """One site's router, made when the first request wants it. For any thread."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        owner: ModelOwner,
        serving: Serving,
        meter: LinkMeter,
    ) -> None:
        self._settings, self._site = settings, site
        self._owner, self._serving, self._meter = owner, serving, meter
        self._lock = Lock()
        self._router: Router | None = None

    def router(self) -> Router:
        """The site's; calibrated now, where it never was: that takes seconds, once.

        Raises GenerationError (FAILED_PRECONDITION) without a release, or a book with marks.
        """
        self._meter.look()
        with self._lock:
            if self._router is None:
                self._router = Router(self._settings, self._calibrated(), self._meter)
            return self._router

    def _calibrated(self) -> Calibration:
        model, in_use = self._owner.loaded.result(), self._serving.now()
        if in_use is None:
            raise GenerationError(
                f"No release has reached site {self._site.id} yet, so auto cannot be calibrated.",
                status="FAILED_PRECONDITION",
            )
        asking, plain = self._settings.asking, nothing_added(model)

        def enrich(records: Sequence[PromptRecord]) -> list[str]:
            prompts = [edge_prompt(record.card, record.short) for record in records]
            written = self._written(prompts, in_use.adapter, asking.enriched_tokens)
            return [w.text or r.short for w, r in zip(written, records, strict=True)]

        def answer(enriched: Sequence[str]) -> list[Written]:
            prompts = [cloud_prompt(text) for text in enriched]
            return self._written(prompts, plain, asking.answer_tokens)

        try:
            return calibration_of(
                self._settings, self._site, enrich, answer, base=model.base.fingerprint
            )
        except BookError:  # its text names a path, which an asker need not know
            raise GenerationError(
                f"mode=auto needs held-out records with marks in the book of site {self._site.id}. "
                "Who runs the site must add them, or choose another mode.",
                status="FAILED_PRECONDITION",
            ) from None

    def _written(self, prompts: Sequence[str], adapter: Adapter, most: int) -> list[Written]:
        """By the model's owner, a batch at a time, so that people's prompts come in between."""
        found: list[Written] = []
        for at in range(0, len(prompts), MOST_TOGETHER):
            futures = [
                self._owner.write(_fixed(prompt), adapter, max_new_tokens=most)
                for prompt in prompts[at : at + MOST_TOGETHER]
            ]
            found += [future.result() for future in futures]
        return found


def _fixed(prompt: str) -> Callable[[object], str]:
    return lambda _: prompt
