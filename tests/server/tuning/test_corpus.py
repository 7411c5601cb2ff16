"""Nothing is measured on what was learned from, and a draw is the same draw again."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from fl.demo_world.corpus import corpus
from fl.errors import SettingsError
from fl.settings import load
from server.tuning.corpus import heldout_pairs, tuning_corpus

SMALL = ("foundation.cloud_records=400", "tuning.records=300", "tuning.heldout=50")


def test_the_demo_worlds_pairs_are_fresh_and_disjoint() -> None:
    settings = load(SMALL)
    drawn = tuning_corpus(settings)
    assert (len(drawn.train), len(drawn.heldout)) == (300, 50)
    train, heldout = ({prompt for prompt, _ in pairs} for pairs in (drawn.train, drawn.heldout))
    base = {prompt for prompt, _ in corpus(settings.foundation, "cloud")}
    assert not heldout & (train | base)
    assert len(train & base) < 30  # short requests come twice by chance
    assert drawn == tuning_corpus(settings)
    assert drawn.heldout == heldout_pairs(settings)


def test_another_seed_draws_other_pairs_and_is_measured_on_the_same() -> None:
    one, other = (tuning_corpus(load([*SMALL, f"seed={seed}"])) for seed in (0, 1))
    assert one.heldout == other.heldout
    assert one.train != other.train


def _write(file: Path, records: Sequence[Mapping[str, object]]) -> str:
    file.write_text("".join(json.dumps(record) + "\n" for record in records) + "\n")
    return f"foundation.corpus={file}"


def test_a_file_says_itself_what_is_held_out(tmp_path: Path) -> None:
    splits = ["train", "train", "val", "test", "train"]
    records = [
        {"prompt": f"p{i}", "completion": f"c{i}", "split": split} for i, split in enumerate(splits)
    ]
    records.append({"prompt": "p2", "completion": "again, of a held-out prompt"})
    records.append({"prompt": "x", "completion": "y", "kind": "elaborate"})
    found = tuning_corpus(load([_write(tmp_path / "own.jsonl", records)]))
    assert {pair[0] for pair in found.train} == {f"Request: p{i}\nAnswer:" for i in (0, 1, 4)}
    assert ("Request: p3\nAnswer:", " c3") in found.heldout
    assert {pair[0] for pair in found.heldout} == {f"Request: p{i}\nAnswer:" for i in (2, 3)}


def test_a_file_without_splits_is_split_by_prompt(tmp_path: Path) -> None:
    records = [{"prompt": f"p{i % 20}", "completion": f"c{i}"} for i in range(60)]
    words = [_write(tmp_path / "own.jsonl", records), "tuning.heldout=9"]  # a fifth: four prompts
    found = tuning_corpus(load(words))
    train, heldout = ({prompt for prompt, _ in pairs} for pairs in (found.train, found.heldout))
    assert (len(train), len(heldout)) == (16, 4)
    assert not train & heldout
    assert len(found.heldout) == 9
    assert tuning_corpus(load([*words, "seed=5"])).heldout == found.heldout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "secret"}', "line 1: expected JSON with prompt and completion"),
        ('{"prompt": "secret", "completion": 3}', "line 1: expected JSON"),
        ('["secret"]', "line 1: expected JSON"),
        ('{"prompt": "secret", "completion": "c"}', "1 pairs to tune on and 0 to measure on"),
    ],
)
def test_a_file_that_cannot_be_used(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_text(text)
    with pytest.raises(SettingsError, match=said) as refused:
        tuning_corpus(load([f"foundation.corpus={tmp_path / 'own.jsonl'}"]))
    assert "secret" not in str(refused.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        tuning_corpus(load([f"foundation.corpus={tmp_path / 'none.jsonl'}"]))
