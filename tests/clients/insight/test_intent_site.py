"""A site's intents in steps, and its threshold: drawn once for all it follows from, never stale."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from clients.edge_model import EdgeModel
from clients.insight.books import read_task_book
from clients.insight.intents.intent_book import intent_record
from clients.insight.intents.reading import IntentReader
from clients.insight.intents.schema import Schema
from clients.insight.intents.schema_file import parse
from clients.insight.intents.site_intents import SiteIntents
from clients.insight.intents.threshold import Threshold
from clients.prompts.record import PromptRecord
from fl.adapter import Adapter
from fl.errors import BookError, LongTextError
from fl.settings import load
from fl.site import Site
from tests.clients.test_edge_model import drawn, opened
from tests.tiny_models import make_tiny_edge

SCHEMA = parse(b"name: n\nout_of_scope: none\nintents: {link: {}, cut: {}}\n", source="n")
SITE = Site(id="elm", place="Elmford")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    return opened(make_tiny_edge(tmp_path_factory.mktemp("edge")), ("c_attn", "c_fc", "c_proj"))


def records(count: int, schema: Schema = SCHEMA) -> list[PromptRecord]:
    return [intent_record(schema, f"link h{i}", "link", ()) for i in range(count)]


Draw = Callable[..., Threshold]


@pytest.fixture
def draw(model: EdgeModel, tmp_path: Path) -> Draw:
    def threshold(
        held: Sequence[PromptRecord],
        *,
        schema: Schema = SCHEMA,
        seed: int = 1,
        alarms: float = 0.25,
    ) -> Threshold:
        return Threshold(
            tmp_path / "threshold.json",
            held,
            IntentReader(model, schema),
            drawn(model, seed=seed),
            false_alarms=alarms,
        )

    return threshold


def test_a_threshold_is_drawn_a_few_texts_at_a_time_and_kept(
    model: EdgeModel, draw: Draw, tmp_path: Path
) -> None:
    held = [*records(20), intent_record(SCHEMA, "food", "none", ())]  # that one does not count
    first, steps = draw(held), 0
    while first.value is None:
        first.step()
        steps += 1
    assert steps == 3  # of 8 texts
    found = IntentReader(model, SCHEMA).judge(drawn(model, seed=1), [r.short for r in held[:20]])
    sure = sorted(one.confidence for one in found if one.best != "none")
    missed = 20 - len(sure)  # 5 of 20 may be refused
    assert first.value == pytest.approx(sure[5 - missed] if missed <= 5 else 0.0, abs=1e-6)
    assert draw(held).value == first.value
    assert "h1" not in (tmp_path / "threshold.json").read_text()


def test_what_it_follows_from_draws_it_anew(draw: Draw, tmp_path: Path) -> None:
    draw(records(4)).step()
    assert draw(records(4)).value is not None
    renamed = replace(SCHEMA, intents=dict(sorted(SCHEMA.intents.items())))
    for other in (
        draw(records(5)),
        draw(records(4), seed=2),
        draw(records(4), alarms=0.1),
        draw(records(4), schema=renamed),
    ):
        assert other.value is None
    file = tmp_path / "threshold.json"
    said = json.loads(file.read_text())
    for damaged in ("{", "[]", "[" * 100_000, json.dumps({**said, "threshold": float("nan")})):
        file.write_text(damaged)
        assert draw(records(4)).value is None
    nothing = draw([])
    nothing.step()
    assert nothing.value == 0.0


def test_two_readers_draw_one_threshold_together(
    model: EdgeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As two HTTP calls do, whose steps come in turn on the model's thread."""
    settings = load(["task=intent", f"var={tmp_path}"])
    adapter, held = drawn(model, seed=1), records(16)
    judged: list[int] = []
    judge = IntentReader.judge

    def spy(self: IntentReader, adapter: Adapter, texts: Sequence[str]) -> object:
        judged.append(len(texts))
        return judge(self, adapter, texts)

    monkeypatch.setattr(IntentReader, "judge", spy)
    site = SiteIntents(settings, SITE, model, now=lambda: adapter, heldout=lambda: held)
    one, other = site.steps([f"cut h{i}" for i in range(10)]), site.steps(["cut h1"])
    assert (next(one), next(other)) == ([], [])
    assert judged == [8, 8]  # the threshold, 8 by either
    assert [len(some) for some in one] == [8, 2]
    assert [len(some) for some in other] == [1]
    held = records(3)
    assert next(site.steps(["cut h1"])) == []  # another book
    with pytest.raises(LongTextError):  # at once, before any step
        site.steps(["cut " * 300])


def test_out_of_scope_is_as_sure_as_the_likeliest_intent_is_not(model: EdgeModel) -> None:
    reader, adapter = IntentReader(model, SCHEMA), drawn(model, seed=1)
    (judged,) = reader.judge(adapter, ["food"])
    (refused,) = reader.read(adapter, ["food"], threshold=1.0)
    assert refused.intent == "none"
    assert refused.confidence == pytest.approx(1 - judged.confidence)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("complete", "prompt and completion, or run ./run.sh books."),
        ("intent", "text, intent and entities, or run ./run.sh books task=intent."),
        ("trend", "history, target and t, or run ./run.sh books task=trend."),
    ],
)
def test_a_missing_book_is_told_how_to_write_one(tmp_path: Path, task: str, said: str) -> None:
    settings = load([f"task={task}", f"var={tmp_path}"])
    with pytest.raises(BookError) as refused:
        read_task_book(settings, SITE)
    assert str(refused.value).endswith(said)
