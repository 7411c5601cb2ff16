"""`insight tasks`: memory and quality of sharing one base, and one adapter, among the tasks."""

import json
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, replace
from statistics import mean

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from clients.insight.books import write_task_books
from clients.insight.tasks.joint import ARMS, Joint, Scores, measure_arm
from clients.insight.tasks.memory import Memory, task_memory
from clients.insight.tasks.quality import MEASURES
from clients.study.measure import workers
from fl import durable
from fl.markdown_table import table
from fl.settings import Settings, with_task
from fl.tasks import TASKS

FOLDER = "study-tasks"
MB = 1024 * 1024
_MEASURES = [(task, name) for task in TASKS for name in MEASURES[task]]


def study_tasks(settings: Settings, console: Console) -> None:
    """Measure, and write study-tasks.md and .json."""
    seeds = range(settings.seed, settings.seed + settings.seeds)
    for seed in seeds:
        for task in TASKS:
            own = with_task(replace(settings, seed=seed), task)
            for written in write_task_books(own):
                console.print(f"  {written.path}", soft_wrap=True, highlight=False)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
        workers(settings.workers) as pool,
    ):
        total = 1 + len(seeds) * len(ARMS)
        bar = progress.add_task("memory, then every arm of every seed", total=total)
        memory = task_memory(settings, gpt2_shape=settings.insight.gpt2_shape)
        progress.advance(bar)
        jobs = {
            (seed, arm): pool.submit(_measure, replace(settings, seed=seed), arm)
            for seed in seeds
            for arm in ARMS
        }
        for _ in as_completed(jobs.values()):
            progress.advance(bar)
    joint = [
        Joint(seed=seed, scores={arm: jobs[seed, arm].result() for arm in ARMS}) for seed in seeds
    ]
    out, text = settings.run_dir / FOLDER, markdown(memory, joint)
    raw = {"memory": [asdict(one) for one in memory], "joint": [asdict(one) for one in joint]}
    durable.publish(out / "study-tasks.json", (json.dumps(raw, indent=1) + "\n").encode())
    durable.publish(out / "study-tasks.md", f"{text}\n".encode())
    console.print(Text(text), soft_wrap=True)
    console.print(f"  {out / 'study-tasks.md'}", soft_wrap=True, highlight=False)


def _measure(settings: Settings, arm: str) -> Scores:
    """In a worker process with a thread of its own."""
    return measure_arm(replace(settings, threads=1), arm)


def markdown(memory: Sequence[Memory], joint: Sequence[Joint]) -> str:
    """Both tables."""
    rows = [
        [
            one.model,
            one.way,
            f"{one.weights / MB:.1f}",
            f"{one.adapters / MB:.1f}",
            f"{one.grown / MB:.0f}",
        ]
        for one in memory
    ]
    return "\n".join(
        [
            "#### Memory of three tasks in one process",
            "",
            table(["base", "way", "weights, MiB", "adapters, MiB", "process grew, MiB"], rows),
            "",
            "#### One adapter a task, or one for all: held-out records of all sites",
            "",
            table(
                ["arm", *(f"{task}: {name}" for task, name in _MEASURES)],
                [
                    [
                        arm,
                        *(
                            _interval([seed.scores[arm][task][name] for seed in joint])
                            for task, name in _MEASURES
                        ),
                    ]
                    for arm in ARMS
                ],
            ),
            "",
            f"{len(joint)} seed{'s' * (len(joint) > 1)}; ± is half the range over them. NLL: nats "
            "per token, less is better, as is sMAPE; all others are shares.",
        ]
    )


def _interval(values: Sequence[float]) -> str:
    """Mean and half the range of the seeds."""
    spread = f" ± {(max(values) - min(values)) / 2:.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread}"
