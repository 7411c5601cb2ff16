"""The study's data sets as their authors write them: split, cut, refused when too small."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from clients.insight.intents.data_sets import SNIPS_HELDOUT, number_of, read_set
from fl.errors import BookError, SettingsError
from fl.settings import load
from fl.settings_intent import IntentStudySettings


@pytest.fixture
def its(tmp_path: Path) -> IntentStudySettings:
    return replace(load([]).intent.study, data=str(tmp_path))


def write(its: IntentStudySettings, file: str, lines: list[dict[str, object]]) -> None:
    text = "\n\n".join(json.dumps(line) for line in lines)  # blank lines count for nothing
    (Path(its.data) / file).write_text(text + "\n")


def clinc(count: int, *names: str) -> list[dict[str, object]]:
    return [
        {"text": f"{name} {i}", "intent": name, "domain": "d"}
        for i in range(count)
        for name in names
    ]


def test_clinc_is_split_as_its_authors_did(its: IntentStudySettings) -> None:
    write(its, "clinc150_train.jsonl", clinc(40, "balance", "translate", "oos"))
    write(its, "clinc150_val.jsonl", clinc(5, "balance", "oos"))
    data = read_set("clinc150", its)
    assert len(data.train) + len(data.calibration) == 120
    assert len(data.heldout) == 10
    assert {one.intent for one in data.train} == {"balance", "translate", "oos"}
    cut = read_set("clinc150", replace(its, train_records=30, heldout_records=4))
    assert (len(cut.train), len(cut.calibration), len(cut.heldout)) == (30, 4, 4)
    assert set(cut.train) < set(data.train)


def test_snips_is_split_by_digest(its: IntentStudySettings) -> None:
    lines: list[dict[str, object]] = [
        {"text": f"play song {i}", "intent": "PlayMusic", "slots": {"track": f"song {i}"}}
        for i in range(40)
    ]
    lines += [{"text": f"rate {i}", "intent": "RateBook", "slots": {}} for i in range(40)]
    write(its, "snips_train.jsonl", lines)
    data = read_set("snips", its)
    assert {one.text for one in data.heldout} == {
        str(line["text"]) for line in lines if number_of(str(line["text"])) % SNIPS_HELDOUT == 0
    }
    song = next(one for one in data.train if one.intent == "PlayMusic")
    assert song.slots == (("track", song.text.removeprefix("play ")),)


@pytest.mark.parametrize(
    ("train", "val", "said"),
    [
        (clinc(40, "balance"), clinc(2, "balance"), "all that are learned have one intent"),
        (clinc(40, "oos"), clinc(2, "balance"), "none in scope is learned"),
        (clinc(40, "balance", "oos"), [], "0 held out) none in scope is held out"),
        ([], clinc(2, "oos"), "none in scope is learned and none"),
    ],
)
def test_a_set_too_small_is_refused_before_any_training(
    its: IntentStudySettings,
    train: list[dict[str, object]],
    val: list[dict[str, object]],
    said: str,
) -> None:
    write(its, "clinc150_train.jsonl", train)
    write(its, "clinc150_val.jsonl", val)
    with pytest.raises(SettingsError) as refused:
        read_set("clinc150", its)
    assert said in str(refused.value)
    assert f"{its.data}/clinc150_val.jsonl" in str(refused.value)
    assert "leave clinc150 out of intent.study.sets" in str(refused.value)


def test_bad_lines_are_named(its: IntentStudySettings) -> None:
    file = Path(its.data) / "ibns_train.jsonl"
    line = json.dumps({"text": "cut h1", "intent": "remove_flow", "entities": []})
    for raw, said in (
        (line.encode() + b"\n", "line 1: the key 'template' is missing"),
        (b"\n\xff\n", "line 2: not valid UTF-8"),
        (b"[" * 100_000, "line 1: a number or a nesting"),
    ):
        file.write_bytes(raw)
        with pytest.raises(BookError, match=f"ibns_train.jsonl, {said}"):
            read_set("network", its)


def test_a_set_is_measured_once() -> None:
    with pytest.raises(SettingsError, match="each once at the most"):
        load(["intent.study.sets=[snips,snips]"])
