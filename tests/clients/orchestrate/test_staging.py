"""Scenes from settings, and the model of many at once."""

from dataclasses import replace

import pytest

from clients.orchestrate.calibrating import back_s
from clients.orchestrate.modelling import Task, all_modelled, modelled
from clients.orchestrate.staging import cells_of, guess, large_scene, small_scene
from fl.orchestration.outcomes import Sample
from fl.settings import load

SETTINGS = load(
    [
        "orchestrate.seconds=20",
        "orchestrate.modelled.sites=20",
        "orchestrate.modelled.cells=4",
        "orchestrate.modelled.workers=2",
        "orchestrate.modelled.seconds=60",
        "orchestrate.modelled.round_s=25",
    ]
)
GUESS = guess(SETTINGS)


def test_sites_share_cells_evenly() -> None:
    assert cells_of(4, 2) == (0, 0, 1, 1)
    assert cells_of(5, 2) == (0, 0, 0, 1, 1)
    assert cells_of(3, 1) == (0, 0, 0)


def test_a_seed_is_a_scene_whatever_was_measured() -> None:
    longer = replace(GUESS, enriched_tokens=(7, 8, 9), answer_tokens=(1, 2, 3, 4), back_s=9.0)
    scene, same = small_scene(SETTINGS, GUESS, 3), small_scene(SETTINGS, longer, 3)
    when = [(one.at, one.site) for one in scene.arrivals]
    assert when == [(one.at, one.site) for one in same.arrivals]
    assert scene.changes == same.changes
    assert {one.answer_tokens for one in same.arrivals} == {1, 2, 3, 4}
    assert when != [(one.at, one.site) for one in small_scene(SETTINGS, GUESS, 4).arrivals]


def test_links_begin_alike_and_a_worker_is_killed_in_the_middle() -> None:
    scene = small_scene(SETTINGS, GUESS, 0)
    begins = [one for one in scene.changes if one.at == 0]
    assert [one.profile for one in begins] == [SETTINGS.orchestrate.links[0]] * 2
    assert len(scene.changes) > 2
    assert all(one.at < 20 for one in scene.changes)
    [loss] = scene.losses
    assert (loss.at, loss.back_at) == (10.0, 10.0 + GUESS.back_s)
    assert loss.worker in scene.workers


def test_rounds_of_learning_take_the_large_scenes_links() -> None:
    scene = large_scene(SETTINGS, GUESS, 0)
    assert [(one.at, one.cell) for one in scene.freight] == [(25.0, cell) for cell in range(4)]
    assert {one.up for one in scene.freight} == {5 * 70_000}


def test_many_in_processes_are_what_each_is_alone_in_order() -> None:
    scenes = [large_scene(SETTINGS, GUESS, seed) for seed in range(3)]
    tasks = [Task(admission="joint", slack=0.1, scene=scene) for scene in scenes]
    done: list[int] = []
    together = all_modelled(tasks, lambda: done.append(1))
    assert [one.outcomes for one in together] == [modelled(task).outcomes for task in tasks]
    assert len(done) == 3


def test_how_long_a_worker_was_away() -> None:
    def at(second: float, up: int) -> Sample:
        return Sample(at=second, at_workers=0, workers_up=up, bytes_up=0, bytes_down=0)

    assert back_s([at(1, 2), at(2, 1), at(3, 1), at(4.5, 1), at(5, 2)]) == pytest.approx(2.5)
    assert back_s([at(1, 2), at(2, 2)]) == 0.0
    assert back_s([]) == 0.0
