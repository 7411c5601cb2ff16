"""The study's counts, by hand; its parts on a small set; the regression; the tables."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from rich.console import Console

from clients.edge_model import edge_model
from clients.insight.intents.data_sets import NETWORK_HELDOUT, Labelled, number_of, read_set
from clients.insight.intents.figures import bars
from clients.insight.intents.reading import IntentReader, Judged
from clients.insight.intents.results import SetResult
from clients.insight.intents.scores import Score, score_intents, slot_f1
from clients.insight.intents.study import books_by_domain, study_intents, timed_texts
from clients.insight.intents.words_baseline import words_score
from fl.errors import SettingsError
from fl.settings import Settings, load, resolve


def test_slot_f1_counts_each_value_as_often_as_it_stands() -> None:
    gold = [(("a", "x"), ("a", "x"), ("b", "y")), ()]
    found = [(("a", "x"), ("b", "z")), (("a", "w"),)]
    assert slot_f1(gold, found) == pytest.approx(2 * 1 / (3 + 3))
    assert slot_f1([()], [()]) is None


def test_scores_by_hand() -> None:
    def one(best: str, inside: str, confidence: float) -> Judged:
        return Judged(best=best, inside=inside, confidence=confidence)

    held = [Labelled(text=str(i), intent=n, slots=()) for i, n in enumerate("aabb--")]
    judged = [
        *(one("a", "a", 0.9), one("b", "b", 0.4), one("b", "b", 0.8), one("-", "b", 0.3)),
        *(one("a", "a", 0.6), one("a", "a", 0.85)),
    ]
    score = score_intents(
        held, judged, [one("a", "a", 0.7)] * 4, out_of_scope="-", false_alarms=0.5
    )
    assert score.accuracy == 3 / 4
    assert score.oos_recall == 1 / 2  # two of four may be refused: the threshold is 0.8
    assert score.calibrated_recall == 1 / 2  # 0.7
    assert score.calibrated_alarms == 2 / 4
    # One of four in scope is called out of scope whatever the threshold: 24 % cannot be had.
    quarter, less = (
        score_intents(held, judged, [], out_of_scope="-", false_alarms=share)
        for share in (0.25, 0.24)
    )
    assert quarter.oos_recall == 0.0
    assert less.oos_recall is None
    assert less.calibrated_recall == 0.0
    assert less.calibrated_alarms == 1 / 4


@pytest.fixture
def small(tmp_path: Path, edge_folder: Path) -> Settings:
    """IBN-like lines of 20 templates, a tiny model, and hardly any training."""
    lines = []
    for i in range(120):
        template = i % 20
        text = f"link {template} from h{i} to s{i}" if i % 2 else f"cut {template} h{i} off s{i}"
        intent = "create_flow" if i % 2 else "remove_flow"
        slots = [["source", f"h{i}"], ["target", f"s{i}"]]
        line = {"text": text, "intent": intent, "entities": slots, "template": f"t{template}"}
        lines.append(json.dumps(line))
    (tmp_path / "ibns_train.jsonl").write_text("\n".join(lines) + "\n")
    return load(
        [
            "task=intent",
            f"var={tmp_path}",
            f"edge.model={edge_folder}",
            f"intent.study.data={tmp_path}",
            "intent.study.sets=[network]",
            "intent.study.timed_requests=2",
            "learning.local_steps=1",
            "rounds=1",
            "threads=1",
        ]
    )


def test_no_template_is_in_two_parts_and_sites_have_one_intent_each(small: Settings) -> None:
    data = read_set("network", small.intent.study)
    templates = [{one.text.split()[1] for one in part} for part in (data.train, data.heldout)]
    assert not templates[0] & templates[1]
    assert len(data.train) + len(data.calibration) + len(data.heldout) == 120
    books = books_by_domain(data)
    assert [book.site.id for book in books] == ["create_flow", "remove_flow"]
    assert len({r.enriched.split("\n")[0] for r in books[0].train}) == 1
    words = words_score(data, false_alarms=0.05)
    assert words is None or words.accuracy == 1.0  # "link" or "cut"


def test_the_whole_study_of_a_tiny_model(small: Settings) -> None:
    study_intents(small, Console(quiet=True))
    folder = small.run_dir / "study-intents"
    (result,) = json.loads((folder / "study-intents.json").read_text())
    for arm in ("base", "centralised", "federated"):
        score = result["scores"][arm]
        assert score["valid"] == 1.0
        assert 0 <= score["slot_f1"] <= 1
        assert score["one_ms"] > 0
        assert score["batch_ms"] > 0
    assert (result["unread"], result["unwritten"], result["shortened"]) == (0, 0, 0)
    assert "points" in (folder / "study-intents.md").read_text()
    assert (folder / "study-intents.png").read_bytes().startswith(b"\x89PNG")


def test_what_is_too_long_counts_as_refused_and_is_reported(small: Settings) -> None:
    """One held-out text that no model of 256 positions reads whole, one too long to be learned."""
    file = resolve(small.intent.study.data) / "ibns_train.jsonl"
    heldout = next(i for i in range(99) if number_of(f"t{i}") % NETWORK_HELDOUT == 0)
    for template, words in ((f"t{heldout}", 300), (f"t{heldout + 1}", 60)):
        text = " ".join(["link z from h1 to s1", *["z"] * words])
        slots = [["source", "h1"], ["target", text.split("to ")[1]]]
        line = {"text": text, "intent": "create_flow", "entities": slots, "template": template}
        with file.open("a") as lines:
            lines.write(json.dumps(line) + "\n")
    study_intents(small, Console(quiet=True))
    (result,) = json.loads((small.run_dir / "study-intents" / "study-intents.json").read_text())
    assert (result["unread"], result["unwritten"], result["shortened"]) == (1, 1, 1)


def test_timed_texts_are_of_all_kinds(small: Settings) -> None:
    data = read_set("network", small.intent.study)
    some = [*data.train, *data.heldout]
    kinds = {one.text: one.intent for one in some}
    first = sorted(some, key=lambda one: one.intent)
    sorted_set = replace(data, heldout=tuple(first))
    study = replace(small.intent.study, timed_requests=20)
    chosen = timed_texts(
        sorted_set,
        IntentReader(edge_model(small), data.schema),
        replace(small, intent=replace(small.intent, study=study)),
    )
    assert len(chosen) == 20
    assert {kinds[text] for text in chosen} == {"create_flow", "remove_flow"}


def test_what_an_arm_has_not_got_is_no_bar() -> None:
    scores = {"words": None, "base": Score(accuracy=0.5), "federated": Score(accuracy=0.0)}
    result = SetResult(
        name="n",
        train=1,
        heldout=1,
        unread=0,
        unwritten=0,
        shortened=0,
        sites={},
        scores=scores,
        seconds={},
    )
    axes = Figure().subplots()
    bars(axes, [result], lambda score: score.accuracy)
    assert [bar.get_extents().height > 0 for bar in axes.patches] == [True, False]


def test_data_that_is_not_there_is_named_before_any_training(small: Settings) -> None:
    study = replace(small.intent.study, sets=["clinc150"])
    with pytest.raises(SettingsError, match=r"clinc150_train\.jsonl is missing"):
        study_intents(
            replace(small, intent=replace(small.intent, study=study)), Console(quiet=True)
        )
