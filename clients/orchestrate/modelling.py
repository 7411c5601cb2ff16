"""Scenes played by the event model, as many at a time as there are cores."""

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

from fl.orchestration.admission import Admission
from fl.orchestration.event_model import EventModel
from fl.orchestration.outcomes import Played
from fl.orchestration.scene import Scene


@dataclass(frozen=True, kw_only=True)
class Task:
    """One scene under one admission."""

    admission: str
    slack: float
    scene: Scene
    sample_s: float = 1.0


def modelled(task: Task) -> Played:
    """Play it."""
    admission = Admission(task.admission, slack=task.slack)
    return EventModel(task.scene, admission, sample_s=task.sample_s).play()


def all_modelled(
    tasks: Sequence[Task], on_played: Callable[[], object] = lambda: None
) -> list[Played]:
    """Play them in processes of their own; what was played, in the order of the tasks."""
    found: dict[int, Played] = {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        futures = {pool.submit(modelled, task): number for number, task in enumerate(tasks)}
        for future in as_completed(futures):
            found[futures[future]] = future.result()
            on_played()
    return [found[number] for number in range(len(tasks))]
