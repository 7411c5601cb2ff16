"""What sharing costs and saves: turns by hand, every arm a study of one round with a tiny model."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from clients.insight.tasks import study
from clients.insight.tasks.joint import ARMS, BASE, SINGLE, Joint, alike
from clients.insight.tasks.memory import EACH, ONE, adapter_specs, task_memory
from clients.insight.tasks.mixing import Part, in_turn, turns
from clients.insight.tasks.quality import MEASURES, NLL
from clients.insight.tasks.study import markdown
from clients.learning.batching import EncodedRecord
from fl.base_model import read_base
from fl.settings import Settings, load
from fl.tasks import COMPLETE, INTENT, TASKS, TREND
from tests.tiny_models import make_tiny_edge


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(
        [
            f"edge.model={make_tiny_edge(tmp_path / 'edge')}",
            f"var={tmp_path / 'var'}",
            "sites=1",
            "seeds=1",
            "workers=1",
            "threads=1",
            "learning.target_modules=[c_attn]",
            "learning.local_steps=2",
            "study.heldout_per_site=2",
            "insight.rounds=1",
            "insight.gpt2_shape=false",
        ]
    )


def test_turns_by_hand() -> None:
    """2 at 1/4 and 3/4, 4 at 1/8, 3/8, 5/8, 7/8; where two meet, the first of the parts."""
    assert turns([2, 4]) == [1, 0, 1, 1, 0, 1]
    assert turns([1, 1, 1]) == [0, 1, 2]
    assert Counter(turns([20, 30, 40])) == {0: 20, 1: 30, 2: 40}


def test_every_part_has_its_own_batches() -> None:
    """A book ten times as large has no more steps, and no batch is of both."""
    small = [EncodedRecord(ids=(1,) * 10, completion_start=5)] * 4
    large = [EncodedRecord(ids=(2,) * 20, completion_start=5)] * 40
    parts = [
        Part(records=small, steps=3, batch_tokens=20),
        Part(records=large, steps=3, batch_tokens=80),
    ]
    found = list(in_turn(parts, seed=1))
    assert [set(batch.ids.flatten().tolist()) for batch in found] == [{1}, {2}] * 3
    assert [tuple(batch.ids.shape) for batch in found] == [(2, 10), (4, 20)] * 3


def test_arms_are_alike_but_for_what_is_compared() -> None:
    own = dict(zip(TASKS, alike(load([])), strict=True))
    assert {one.learning.learning_rate for one in own.values()} == {0.006}
    assert {one.learning.final_rate for one in own.values()} == {0.05}  # trend wants the lowest
    assert {task: one.learning.max_tokens for task, one in own.items()} == {
        COMPLETE: 192,
        INTENT: 256,
        TREND: 192,
    }
    assert [own[task].learning.local_steps for task in TASKS] == [20, 60, 40]
    assert {one.personal for one in own.values()} == {"none"}


def test_adapters_are_as_wide_as_their_tasks_say(settings: Settings, tmp_path: Path) -> None:
    """Shared and personal part: 8 + 8, 32 + 8, and 32 alone (trends), all at alpha / rank = 2."""
    base = read_base(tmp_path / "edge", ["c_attn"])
    specs = adapter_specs(settings, base)
    assert {task: spec.rank for task, spec in specs.items()} == {
        COMPLETE: 16,
        INTENT: 40,
        TREND: 32,
    }
    assert {spec.scale for spec in specs.values()} == {2.0}


@pytest.mark.slow  # processes of their own
def test_memory_of_both_ways(settings: Settings) -> None:
    """c_attn of 2 layers, 32 -> 96: a rank is 128 numbers of 4 bytes a layer; 72 ranks in all."""
    one, each = task_memory(settings, gpt2_shape=False)
    assert (one.way, each.way) == (ONE, EACH)
    assert each.weights == 3 * one.weights > 0
    assert one.adapters == each.adapters == 2 * 72 * 128 * 4
    assert one.grown > 0


def test_a_study_of_one_round(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, and without the memory, which is measured in processes of their own."""
    monkeypatch.setattr(study, "task_memory", lambda settings, gpt2_shape: [])
    monkeypatch.setattr(study, "workers", lambda count: ThreadPoolExecutor(count))
    study.study_tasks(settings, Console(file=StringIO(), width=200))
    out = settings.run_dir / "study-tasks"
    (found,) = json.loads((out / "study-tasks.json").read_text())["joint"]
    assert list(found["scores"]) == list(ARMS)
    for arm in ARMS:
        for task, names in MEASURES.items():
            assert list(found["scores"][arm][task]) == list(names)
    for task in TASKS:  # even one round of a random model learns something
        assert found["scores"][SINGLE][task][NLL] < found["scores"][BASE][task][NLL]
    assert "1 seed;" in (out / "study-tasks.md").read_text()


def test_spread_over_seeds_by_hand() -> None:
    def seed(number: int, value: float) -> Joint:
        of = {task: dict.fromkeys(names, value) for task, names in MEASURES.items()}
        return Joint(seed=number, scores=dict.fromkeys(ARMS, of))

    text = markdown([], [seed(0, 1.0), seed(1, 2.0), seed(2, 4.5)])
    assert "2.500 ± 1.750" in text
    assert "3 seeds;" in text
