"""The by-products at an edge service: each task's book, shelf and adapter, on the one model.

Readings are made on the model's thread, after the prompts that wait and before learning.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import TimeoutError as TooLate
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.edge_model import EdgeModel
from clients.edge_service.held_book import HeldBook
from clients.edge_service.hosted_sites import named
from clients.edge_service.intent_routes import IntentRoutes
from clients.edge_service.model_owner import ModelOwner, Result
from clients.edge_service.release_watch import ReleaseWatch
from clients.edge_service.serving import Say, Serving
from clients.edge_service.trend_routes import TrendRoutes
from clients.insight.acting.persistence import Persistence
from clients.insight.books import reader_of
from clients.insight.forecast import Forecast
from clients.insight.intents.schema import Intent
from clients.insight.intents.schema_file import schema_of
from clients.insight.intents.site_intents import SiteIntents
from clients.insight.trends.encoding import HISTORY, Window
from clients.insight.trends.forecasting import Forecasting
from clients.insight.trends.series import CountSeries, series_of_log
from clients.release_channel import ReleaseChannel
from fl.adapter import Adapter
from fl.errors import FederationError, GenerationError, NetGPTError
from fl.openai_api.errors import ApiError
from fl.openai_api.resources import Resource, ResourceCall
from fl.settings import Settings, with_task
from fl.site import Site
from fl.site_list import book_path, hosted_site
from fl.tasks import BY_PRODUCTS, INTENT, TREND

Answer = Callable[[ResourceCall], Mapping[str, object]]


class ByProducts:
    """Of one site."""

    def __init__(
        self, settings: Settings, site: Site, *, owner: ModelOwner, model: EdgeModel, say: Say
    ) -> None:
        """Takes up what the shelves hold. Raises SettingsError for a schema that is not good."""
        self._site, self._owner, self._timeout_s = site, owner, settings.asking.timeout_s
        of_task = {task: with_task(settings, task) for task in BY_PRODUCTS}
        self.books = {
            task: HeldBook(book_path(own, site), site, reader_of(own))
            for task, own in of_task.items()
        }
        self.serving = {
            task: Serving(
                own,
                hosted_site(own),  # with the rank it has for the task
                spec=model.spec,
                layers=model.base.layers,
                say=named(task, say),
            )
            for task, own in of_task.items()
        }
        for serving in self.serving.values():
            serving.load()
        self._settings = of_task
        self._schema = schema_of(of_task[INTENT])
        self._intents: SiteIntents | None = None
        self._plain = Persistence()
        self._forecasting = Forecasting(model, coverage=settings.trend.coverage)

    def watches(
        self, channel: ReleaseChannel, key: Ed25519PublicKey, say: Say
    ) -> list[ReleaseWatch]:
        """What follows the cloud's releases of each task, as the site's own watch does."""
        return [
            ReleaseWatch(
                own,
                self._site,
                channel=channel,
                key=key,
                serving=self.serving[task],
                owner=self._owner,
                say=named(task, say),
            )
            for task, own in self._settings.items()
        ]

    def resources(self) -> list[Resource]:
        """What the site's HTTP answers beside the models, for this site alone."""
        trends = TrendRoutes(
            log=lambda: series_of_log(self._settings[TREND], self._site, now=datetime.now(UTC)),
            forecasts=self._forecasts,
            horizon=self._settings[TREND].trend.horizon,
        )
        intents = IntentRoutes(self._schema, self._read_intents)
        return [
            replace(one, answer=partial(self._of_this_site, one.answer))
            for one in (*intents.resources(), *trends.resources())
        ]

    def _of_this_site(self, answer: Answer, call: ResourceCall) -> Mapping[str, object]:
        if call.query.get("site", self._site.id) != self._site.id:  # any text: not repeated
            raise ApiError(
                f"By-products are those of site {self._site.id} here; leave site= out, or ask the "
                "other site's own edge service.",
                http_status=404,
                param="site",
            )
        return answer(call)

    def _read_intents(self, texts: Sequence[str]) -> Sequence[Intent]:
        """A few at a time, so that prompts which come meanwhile are written in between.

        All together have asking.timeout_s; a threshold half drawn by then is there for the next.
        """
        until = time.monotonic() + self._timeout_s
        steps = self._on_model(self._site_intents, until=until).steps(texts)
        found: list[Intent] = []
        while (some := self._on_model(lambda _: next(steps, None), until=until)) is not None:
            found += some
        return found

    def _site_intents(self, model: EdgeModel) -> SiteIntents:
        if self._intents is None:
            self._intents = SiteIntents(
                self._settings[INTENT],
                self._site,
                model,
                now=lambda: self._adapter(INTENT),
                heldout=lambda: self.books[INTENT].book().heldout,
            )
        return self._intents

    def _forecasts(self, series: CountSeries, steps: int) -> Sequence[Forecast]:
        """Step by step, so that prompts which come meanwhile are written in between.

        All steps together have asking.timeout_s.
        """
        until = time.monotonic() + self._timeout_s
        if (adapter := self._adapter(TREND)) is None:
            raise FederationError(
                f"Site {self._site.id} has no release of task=trend yet. "
                "./run.sh simulate task=trend makes one."
            )
        ahead = self._forecasting.ahead(adapter, series.counts, series.at, step=series.step)
        return [self._on_model(lambda _: next(ahead), until=until) for _ in range(steps)]

    def forecast(self, history: Sequence[float], at: datetime) -> Forecast:
        """A Forecaster: the edge model where it has learned trends and is not too busy."""
        adapter = self._adapter(TREND)
        if adapter is None or len(history) < HISTORY:
            return self._plain(history, at)
        window = Window(history=tuple(history[-HISTORY:]), at=at)
        try:
            return self._on_model(
                lambda _: self._forecasting.next(adapter, [window], past=history)[0]
            )
        except NetGPTError:
            return self._plain(history, at)

    def _adapter(self, task: str) -> Adapter | None:
        in_use = self.serving[task].now()
        return in_use.adapter if in_use else None

    def _on_model(
        self, job: Callable[[EdgeModel], Result], *, until: float | None = None
    ) -> Result:
        """Raises GenerationError where the model is too busy, and what the job raises."""
        left = self._timeout_s if until is None else max(0.0, until - time.monotonic())
        future = self._owner.call(job)
        try:
            return future.result(timeout=left)
        except TooLate:
            future.cancel()
            raise GenerationError(
                f"This site's model was busy for {self._timeout_s:g} s (asking.timeout_s).",
                status="DEADLINE_EXCEEDED",
            ) from None
