"""Intents at a site: its adapter of now, and the threshold that its own book gives it."""

from collections.abc import Callable, Iterator, Sequence

from clients.edge_model import EdgeModel
from clients.insight.intents.reading import IntentReader
from clients.insight.intents.schema import Intent, Schema
from clients.insight.intents.schema_file import schema_of
from clients.insight.intents.threshold import FILE, TOGETHER, Threshold
from clients.prompts.record import PromptRecord
from fl.adapter import Adapter
from fl.errors import FederationError
from fl.settings import Settings
from fl.site import Site
from fl.site_list import task_folder


class SiteIntents:
    """Of one site. `settings.task` is intent."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        model: EdgeModel,
        *,
        now: Callable[[], Adapter | None],
        heldout: Callable[[], Sequence[PromptRecord]],
    ) -> None:
        """`now` says what people of the site are served with; None before the first release.

        `heldout` is that part of the site's book: the same object as long as the book is the same.
        """
        self._settings, self._site = settings, site
        self._now, self._heldout = now, heldout
        self._reader = IntentReader(model, schema_of(settings))
        self._threshold: Threshold | None = None  # of the last adapter and book

    @property
    def schema(self) -> Schema:
        """Which intents there are."""
        return self._reader.schema

    def steps(
        self, texts: Sequence[str], *, together: int = TOGETHER
    ) -> Iterator[Sequence[Intent]]:
        """The intents of the texts, in order, a few with each step.

        The steps are for the model's thread, one after the other, with whatever comes between; the
        first ones may bring nothing, as they draw the threshold. This call may be on any thread.
        Raises LongTextError, FederationError before the first release of task=intent, BookError
        where the threshold cannot be drawn because the book is not there or not good.
        """
        self._reader.check(texts)
        adapter = self._now()
        if adapter is None:
            raise FederationError(
                f"Site {self._site.id} has no release of task=intent yet. "
                "./run.sh simulate task=intent makes one."
            )
        return self._steps(adapter, self._heldout(), list(texts), together)

    def _steps(
        self,
        adapter: Adapter,
        records: Sequence[PromptRecord],
        texts: Sequence[str],
        together: int,
    ) -> Iterator[Sequence[Intent]]:
        drawn = self._threshold_of(adapter, records)
        while drawn.value is None:
            drawn.step()
            yield []
        for start in range(0, len(texts), together):
            some = texts[start : start + together]
            yield self._reader.read(adapter, some, threshold=drawn.value)

    def _threshold_of(self, adapter: Adapter, records: Sequence[PromptRecord]) -> Threshold:
        """On the model's thread, so that all who need the same one draw it together."""
        known = self._threshold
        if known is None or known.adapter is not adapter or known.records is not records:
            known = self._threshold = Threshold(
                task_folder(self._settings, self._site.id) / FILE,
                records,
                self._reader,
                adapter,
                false_alarms=self._settings.intent.false_alarms,
            )
        return known
