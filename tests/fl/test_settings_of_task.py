"""Settings of a task: the same however they are come by, and what is said holds for all tasks."""

from dataclasses import replace
from pathlib import Path

import pytest

from fl.settings import as_file, load, with_task
from fl.tasks import COMPLETE, INTENT, TASKS, TREND


@pytest.mark.parametrize(
    "said",
    [
        [],
        ["learning.rank=4"],
        ["learning.rank=8", "learning.alpha=16", "learning.final_rate=1.0"],
        ["learning.alpha=32"],
        ["learning.max_tokens=160"],
        ["config=configs/hub.yaml"],
    ],
)
def test_turned_settings_are_those_that_are_loaded(said: list[str]) -> None:
    loaded = {task: load([*said, f"task={task}"]) for task in TASKS}
    for one in TASKS:
        for other in TASKS:
            turned = with_task(loaded[one], other)
            assert replace(turned, told=[]) == replace(loaded[other], told=[]), (one, other)
    scales = {one.learning.alpha / one.learning.rank for one in loaded.values()}
    assert len(scales) == 1  # one base has one


def test_a_task_changes_what_nobody_says() -> None:
    trend = load(["task=trend", "learning.local_steps=7"])
    assert (trend.learning.rank, trend.learning.alpha, trend.learning.local_steps) == (32, 64.0, 7)
    plain = with_task(trend, COMPLETE)
    assert (plain.learning.rank, plain.learning.alpha, plain.learning.local_steps) == (8, 16.0, 7)
    assert with_task(plain, INTENT).learning.max_tokens == 256


def test_what_a_file_says_holds_for_every_task(tmp_path: Path) -> None:
    chosen = tmp_path / "mine.yaml"
    chosen.write_text("learning: {rank: 2, alpha: 4.0}\n")
    settings = load([f"config={chosen}"])
    for task in (INTENT, TREND):
        learning = with_task(settings, task).learning
        assert (learning.rank, learning.alpha) == (2, 4.0)


def test_settings_written_to_a_file_are_read_from_it(tmp_path: Path) -> None:
    """As for the processes that orchestrate and engine.workers start."""
    settings, file = load(["task=trend", "seed=3"]), tmp_path / "settings.json"
    file.write_bytes(as_file(settings))
    assert replace(load([f"config={file}"]), told=[]) == replace(settings, told=[])
