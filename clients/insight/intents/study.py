"""`insight intents`: what the edge model makes of real requests, measured against yardsticks.

For every data set: logistic regression on words; the base without an adapter; one adapter trained
on all records; one federated over sites that have a domain of intents each. All adapters see the
same number of batches, and every arm is judged on the same held-out texts.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from statistics import median

import jsonschema
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from clients.edge_model import EdgeModel, edge_model
from clients.insight.intents.data_sets import DataSet, Labelled, number_of, read_set
from clients.insight.intents.figures import picture
from clients.insight.intents.reading import IntentReader, Judged
from clients.insight.intents.results import ARMS, BASE, CENTRAL, FEDERATED, WORDS, SetResult
from clients.insight.intents.schema import Intent, Schema, to_object
from clients.insight.intents.scores import Score, score_intents, slot_f1
from clients.insight.intents.study_tables import markdown
from clients.insight.intents.words_baseline import words_score
from clients.prompts.book import Book
from clients.study.methods.laboratory import Lab, scratch
from fl import durable
from fl.adapter import Adapter, initial_adapter
from fl.prompt_format import completion
from fl.settings import Settings, with_task
from fl.site import Site
from fl.tasks import INTENT

FOLDER = "study-intents"
READ_TOGETHER = 200  # texts

Tell = Callable[[str], None]


def study_intents(settings: Settings, console: Console) -> None:
    """Measure, and write study-intents.md, .json and .png.

    Raises SettingsError where the data is not there, before anything is trained.
    """
    settings = replace(with_task(settings, INTENT), personal="none", method="fedavg")
    its = settings.intent.study
    sets = {name: read_set(name, its) for name in its.sets}
    model = edge_model(settings)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("intents", total=len(sets) * len(ARMS))
        results = []
        for name, data in sets.items():
            tell = partial(_describe, progress, bar, name)
            advance = partial(progress.advance, bar)
            results.append(_measure_set(settings, data, model, tell, advance))
    out, text = settings.run_dir / FOLDER, markdown(results, settings)
    raw = [asdict(result) for result in results]
    durable.publish(out / "study-intents.json", (json.dumps(raw, indent=1) + "\n").encode())
    durable.publish(out / "study-intents.png", picture(results))
    durable.publish(out / "study-intents.md", text.encode())
    console.print(Text(text), soft_wrap=True)
    console.print(f"  {out / 'study-intents.md'}", soft_wrap=True, highlight=False)


def _describe(progress: Progress, bar: TaskID, name: str, said: str) -> None:
    progress.update(bar, description=f"{name}: {said}")


def _measure_set(
    settings: Settings, data: DataSet, model: EdgeModel, tell: Tell, advance: Callable[[], None]
) -> SetResult:
    books, reader = books_by_domain(data), IntentReader(model, data.schema)
    scores: dict[str, Score | None] = {}
    adapters: dict[str, Adapter] = {}
    seconds: dict[str, float] = {}
    for arm in ARMS:
        tell(arm)
        began = time.perf_counter()
        if arm == WORDS:
            scores[arm] = words_score(data, false_alarms=settings.intent.false_alarms)
        else:
            adapters[arm] = _ADAPTERS[arm](settings, model, books, partial(_tell_of, tell, arm))
            tell(f"{arm}, judged")
            scores[arm] = judge_adapter(settings, data, reader, adapters[arm])
        seconds[arm] = time.perf_counter() - began
        advance()
    tell("timed")
    for arm, one_ms in alone_ms(reader, adapters, timed_texts(data, reader, settings)).items():
        score = scores[arm]
        assert score is not None
        scores[arm] = replace(score, one_ms=one_ms)
    return SetResult(
        name=data.schema.name,
        train=len(data.train),
        heldout=len(data.heldout),
        unread=sum(not reader.fits(one.text) for one in data.heldout),
        unwritten=longer_than(model.positions, data.heldout, data.schema, model),
        shortened=longer_than(settings.learning.max_tokens, data.train, data.schema, model),
        sites={book.site.id: len(book.train) for book in books},
        scores=scores,
        seconds=seconds,
    )


def longer_than(tokens: int, found: Sequence[Labelled], schema: Schema, model: EdgeModel) -> int:
    """How many have more tokens than these, with their answer and its end mark."""
    records = [one.record(schema) for one in found]
    texts = [record.prompt() + completion(record.enriched) for record in records]
    return sum(len(model.token_ids(text)) + 1 > tokens for text in texts)


def _tell_of(tell: Tell, arm: str, said: str) -> None:
    tell(f"{arm}, {said}")


def books_by_domain(data: DataSet) -> list[Book]:
    """A site for each domain, or each intent where the schema has none; as unlike as can be.

    What is out of scope is dealt out in turn, as it is nobody's.
    """
    schema = data.schema
    domains = sorted({kind.domain or kind.name for kind in schema.intents.values()})
    pools: dict[str, list[Labelled]] = {domain: [] for domain in domains}
    outside = 0
    for one in data.train:
        if one.intent == schema.out_of_scope:
            pools[domains[outside % len(domains)]].append(one)
            outside += 1
        else:
            kind = schema.intents[one.intent]
            pools[kind.domain or kind.name].append(one)
    return [_book(domain, pool, data) for domain, pool in pools.items() if len(pool) > 0]


def _book(domain: str, pool: Sequence[Labelled], data: DataSet) -> Book:
    site = Site(id=domain.lower().replace("+", "-and-"), place=domain)
    records = tuple(one.record(data.schema) for one in pool)
    return Book(site=site, train=records, heldout=records[:1])  # a round measures nothing here


def _base(settings: Settings, model: EdgeModel, books: Sequence[Book], tell: Tell) -> Adapter:
    """An adapter that adds nothing."""
    return initial_adapter(model.spec, model.base.layers, seed=settings.seed)


def _central(settings: Settings, model: EdgeModel, books: Sequence[Book], tell: Tell) -> Adapter:
    """The same rounds with one site that has all records and batches as large as all sites'."""
    one = Book(
        site=Site(id="all", place="all"),
        train=tuple(record for book in books for record in book.train),
        heldout=books[0].heldout,
    )
    batch_tokens = settings.learning.batch_tokens * len(books)
    alone = replace(settings, learning=replace(settings.learning, batch_tokens=batch_tokens))
    return _federated(alone, model, [one], tell)


def _federated(settings: Settings, model: EdgeModel, books: Sequence[Book], tell: Tell) -> Adapter:
    """The release after the last round; no site has a personal part."""
    sites = [replace(book.site, rank=settings.learning.rank) for book in books]
    with scratch() as folder:
        lab = Lab(settings, sites, books, model, Path(folder), measure_error=False)
        for number in range(1, settings.rounds + 1):
            tell(f"round {number} of {settings.rounds}")
            lab.play_round(number)
    return lab.release.shared


_ADAPTERS: Mapping[str, Callable[[Settings, EdgeModel, Sequence[Book], Tell], Adapter]] = {
    BASE: _base,
    CENTRAL: _central,
    FEDERATED: _federated,
}


def judge_adapter(
    settings: Settings, data: DataSet, reader: IntentReader, adapter: Adapter
) -> Score:
    """Everything about one adapter on the held-out texts but what a text alone takes."""
    schema = reader.schema
    readable = [one for one in data.heldout if reader.fits(one.text)]
    unread = [one for one in data.heldout if not reader.fits(one.text)]
    texts = [one.text for one in readable]
    inside = [one.text for one in data.calibration if one.intent != schema.out_of_scope]
    score = score_intents(
        [*readable, *unread],
        [*reader.judge(adapter, texts), *[refused(schema)] * len(unread)],
        reader.judge(adapter, [text for text in inside if reader.fits(text)]),
        out_of_scope=schema.out_of_scope,
        false_alarms=settings.intent.false_alarms,
    )
    began = time.perf_counter()
    found: list[Intent] = []
    for start in range(0, len(texts), READ_TOGETHER):
        found += reader.read(adapter, texts[start : start + READ_TOGETHER], threshold=0.0)
    batch_ms = (time.perf_counter() - began) * 1000 / len(texts)
    return replace(
        score,
        slot_f1=slot_f1(
            [one.slots for one in [*readable, *unread]],
            [*(one.slots for one in found), *[()] * len(unread)],
        ),
        valid=valid_share(found, schema),
        batch_ms=batch_ms,
    )


def valid_share(found: Sequence[Intent], schema: Schema) -> float:
    """Share of answers that, written as JSON and read again, are valid under the JSON Schema."""
    judge = jsonschema.Draft202012Validator(schema.json_schema())
    answers = [json.loads(json.dumps(to_object(one, schema))) for one in found]
    valid = sum(bool(judge.is_valid(answer)) for answer in answers)
    return valid / len(answers)


def refused(schema: Schema) -> Judged:
    """What a text counts as that the model cannot read whole."""
    return Judged(best=schema.out_of_scope, inside="", confidence=0.0)


def timed_texts(data: DataSet, reader: IntentReader, settings: Settings) -> list[str]:
    """Held-out texts by their digests: a file may have all of one intent first."""
    texts = [one.text for one in data.heldout if reader.fits(one.text)]
    return sorted(texts, key=number_of)[: settings.intent.study.timed_requests]


def alone_ms(
    reader: IntentReader, adapters: Mapping[str, Adapter], texts: Sequence[str]
) -> dict[str, float]:
    """Median milliseconds of a text that is read alone, with each adapter.

    The adapters take turns at every text, so that what else the machine does meets all of them.
    """
    taken: dict[str, list[float]] = {arm: [] for arm in adapters}
    for text in [texts[0], *texts]:  # the first time warms up
        for arm, adapter in adapters.items():
            began = time.perf_counter()
            reader.read(adapter, [text], threshold=0.0)
            taken[arm].append((time.perf_counter() - began) * 1000)
    return {arm: median(found[1:]) for arm, found in taken.items()}
