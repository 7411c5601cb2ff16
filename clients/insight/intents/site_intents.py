"""Intents at a site: its adapter of now, and the threshold that its own book gives it."""

from collections.abc import Callable, Sequence

from clients.edge_model import EdgeModel
from clients.insight.books import read_task_book
from clients.insight.intents.reading import Between, IntentReader
from clients.insight.intents.schema import Intent, Schema
from clients.insight.intents.schema_file import schema_of
from clients.insight.intents.threshold import FILE, threshold_of
from fl.adapter import Adapter
from fl.errors import FederationError
from fl.settings import Settings
from fl.site import Site
from fl.site_list import task_folder


class SiteIntents:
    """Of one site. `settings.task` is intent. One thread at a time, as the model."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        model: EdgeModel,
        *,
        now: Callable[[], Adapter | None],
    ) -> None:
        """`now` says what people of the site are served with; None before the first release."""
        self._settings, self._site, self._now = settings, site, now
        self._reader = IntentReader(model, schema_of(settings))
        self._drawn: tuple[Adapter, float] | None = None  # the threshold of the last adapter

    @property
    def schema(self) -> Schema:
        """Which intents there are."""
        return self._reader.schema

    def check(self, texts: Sequence[str]) -> None:
        """Raise LongTextError for the first text that the model cannot read whole."""
        self._reader.check(texts)

    def read(self, texts: Sequence[str], *, between: Between | None = None) -> list[Intent]:
        """The intent of each text.

        Raises FederationError before the first release of task=intent, BookError where the
        threshold cannot be drawn because the book is not there or not good.
        """
        adapter = self._now()
        if adapter is None:
            raise FederationError(
                f"Site {self._site.id} has no release of task=intent yet. "
                "./run.sh simulate task=intent makes one."
            )
        threshold = self._threshold(adapter, between)
        return self._reader.read(adapter, texts, threshold=threshold, between=between)

    def _threshold(self, adapter: Adapter, between: Between | None) -> float:
        if self._drawn is None or self._drawn[0] is not adapter:
            settings = self._settings
            drawn = threshold_of(
                task_folder(settings, self._site.id) / FILE,
                read_task_book(settings, self._site).heldout,
                self._reader,
                adapter,
                false_alarms=settings.intent.false_alarms,
                between=between,
            )
            self._drawn = adapter, drawn
        return self._drawn[1]
