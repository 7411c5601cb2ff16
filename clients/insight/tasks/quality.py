"""How well an adapter does each task, on all sites' held-out records.

The loss counts every record; what is written, chosen and forecast counts the first
study.heldout_per_site of a site. Records are encoded as their task says, whichever adapter is read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean

from clients.edge_model import EdgeModel
from clients.insight.books import read_task_book
from clients.insight.intents.grammar import parse_slots
from clients.insight.intents.reading import IntentReader
from clients.insight.intents.schema import Schema, Slots
from clients.insight.intents.schema_file import schema_of
from clients.insight.intents.scores import slot_f1
from clients.insight.trends.encoding import Known
from clients.insight.trends.forecasting import Forecasting
from clients.insight.trends.scores import smapes, told_directions
from clients.insight.trends.trend_book import read_known
from clients.learning.evaluation import heldout_nll
from clients.prompts.book import Book
from clients.prompts.recall import recall_of
from clients.prompts.record import PromptRecord
from fl.adapter import Adapter
from fl.settings import Settings
from fl.site import Site
from fl.site_list import book_path
from fl.tasks import COMPLETE, INTENT, TREND

NLL = "NLL"  # nats per completion token
FACTS, INTENTS, SLOTS = "fact recall", "intents right", "slot F1"
SMAPE, DIRECTION = "sMAPE", "direction told"
MEASURES: Mapping[str, tuple[str, ...]] = {
    COMPLETE: (NLL, FACTS),
    INTENT: (NLL, INTENTS, SLOTS),
    TREND: (NLL, SMAPE, DIRECTION),
}


@dataclass(frozen=True, kw_only=True)
class Task:
    """A task, its settings and what the sites have of it."""

    settings: Settings
    books: Sequence[Book]  # of each site

    def asked(self) -> list[PromptRecord]:
        """Held-out records whose answers are scored."""
        most = self.settings.study.heldout_per_site
        return [record for book in self.books for record in book.heldout[:most]]


def read_task(settings: Settings, sites: Sequence[Site]) -> Task:
    """Of `settings.task`. Raises BookError where its books are not written yet."""
    return Task(settings=settings, books=[read_task_book(settings, site) for site in sites])


def quality(model: EdgeModel, adapter: Adapter, task: Task) -> dict[str, float]:
    """The MEASURES of the task with this adapter."""
    model.set_adapter(adapter)
    losses = [heldout_nll(model, book.heldout, task.settings.learning) for book in task.books]
    loss = sum(one.nats for one in losses) / sum(one.tokens for one in losses)
    return {NLL: loss} | _OF_TASK[task.settings.task](model, adapter, task)


def _completions(model: EdgeModel, adapter: Adapter, task: Task) -> dict[str, float]:
    asked, limit = task.asked(), task.settings.asking.enriched_tokens
    lines = [model.writer.line(r.prompt(), adapter, max_new_tokens=limit) for r in asked]
    texts = [written.text for written in model.writer.write(lines)]
    facts = recall_of(texts, [{FACTS: record.marks.get("fact", ())} for record in asked])
    return {FACTS: facts[FACTS].share}


def _intents(model: EdgeModel, adapter: Adapter, task: Task) -> dict[str, float]:
    schema = schema_of(task.settings)
    reader = IntentReader(model, schema)
    # what the model cannot read whole is refused in use, too
    asked = [record for record in task.asked() if reader.fits(record.short)]
    right = [_labels(record, schema) for record in asked]
    found = reader.read(adapter, [record.short for record in asked], threshold=0.0)
    slots = [one.slots for one in found]
    return {
        INTENTS: mean(name == said.intent for (name, _), said in zip(right, found, strict=True)),
        SLOTS: slot_f1([own for _, own in right], slots) or 0.0,
    }


def _labels(record: PromptRecord, schema: Schema) -> tuple[str, Slots]:
    """The intent and the slots of which the record was made."""
    said, _, slots = record.enriched.partition("\n")
    name = next(name for name in schema.names if schema.words(name) == said)
    return name, parse_slots(slots, schema.slots_of(name))


def _trends(model: EdgeModel, adapter: Adapter, task: Task) -> dict[str, float]:
    known = [one for book in task.books for one in _windows(task.settings, book)]
    forecasting = Forecasting(model, coverage=task.settings.trend.coverage)
    windows = [window for window, _ in known]
    found = forecasting.next(adapter, windows, past=known[0][0].history)
    return {SMAPE: mean(smapes(known, found)), DIRECTION: mean(told_directions(known, found))}


def _windows(settings: Settings, book: Book) -> list[Known]:
    """What the site's held-out records were made of: the book has the counts, a record letters."""
    file = book_path(settings, book.site)
    known = {}
    for line in filter(str.strip, file.read_text(encoding="utf-8").splitlines()):
        record, window = read_known(json.loads(line), str(file))
        known[record.short, record.enriched] = window
    asked = book.heldout[: settings.study.heldout_per_site]
    return [known[record.short, record.enriched] for record in asked]


_OF_TASK = {COMPLETE: _completions, INTENT: _intents, TREND: _trends}
