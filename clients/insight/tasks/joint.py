"""One adapter for all tasks against an adapter a task, federated on the same books.

Every task has the same in every arm: its own batches, as many of them in a round, the same learning
rate as it falls from round to round, and its held-out records encoded as it says. What differs is
whether tasks move the same adapter, and of how many directions that is: as many as the widest task
has, or as all have together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clients.edge_model import EdgeModel, edge_model
from clients.insight.tasks.mixing import Part, in_turn
from clients.insight.tasks.quality import Task, quality, read_task
from clients.learning.batching import encode
from clients.learning.edge_site import Batches
from clients.prompts.book import Book
from clients.study.methods.laboratory import Lab, scratch
from fl.adapter import Adapter, initial_adapter
from fl.settings import Settings, with_task
from fl.site import Site
from fl.site_list import federated_sites
from fl.tasks import TASKS

BASE, SINGLE, JOINT, WIDE = (
    "base, no adapter",
    "an adapter a task",
    "one adapter",
    "one, their ranks together",
)
ARMS = (BASE, SINGLE, JOINT, WIDE)

Scores = Mapping[str, Mapping[str, float]]  # task -> its measures


@dataclass(frozen=True, kw_only=True)
class Joint:
    """One seed: what each arm reaches at each task."""

    seed: int
    scores: Mapping[str, Scores]  # by arm


def measure_arm(settings: Settings, arm: str) -> Scores:
    """An arm at each task, without personal parts: what is compared is what is shared.

    Raises BookError where a task's books are not written yet.
    """
    sites = federated_sites(settings)
    return _ARMS[arm](sites, [read_task(own, sites) for own in alike(settings)])


def alike(settings: Settings) -> list[Settings]:
    """Each task's settings: its own rank, steps, batches and lengths, but one rate for all.

    It ends as low as any task wants it to.
    """
    each = [with_task(settings, task) for task in TASKS]
    final = min(own.learning.final_rate for own in each)
    return [
        replace(
            own,
            personal="none",
            method="fedavg",
            rounds=settings.insight.rounds,
            learning=replace(
                own.learning, learning_rate=settings.learning.learning_rate, final_rate=final
            ),
        )
        for own in each
    ]


def _base(sites: Sequence[Site], tasks: Sequence[Task]) -> Scores:
    found = {}
    for task in tasks:
        model = edge_model(task.settings)
        nothing = initial_adapter(model.spec, model.base.layers, seed=task.settings.seed)
        found[task.settings.task] = quality(model, nothing, task)
    return found


def _single(sites: Sequence[Site], tasks: Sequence[Task]) -> Scores:
    return {
        task: score for one in tasks for task, score in _shared(sites, [one], wide=False).items()
    }


def _shared(sites: Sequence[Site], tasks: Sequence[Task], *, wide: bool) -> Scores:
    """One adapter of these tasks, federated, at each of them."""
    ranks = [task.settings.learning.rank for task in tasks]
    first = tasks[0].settings
    rank, scale = sum(ranks) if wide else max(ranks), first.learning.alpha / first.learning.rank
    steps = sum(task.settings.learning.local_steps for task in tasks)
    learning = replace(first.learning, local_steps=steps, rank=rank, alpha=scale * rank)
    model, release = _federated(replace(first, learning=learning), sites, tasks)
    return {task.settings.task: quality(model, release, task) for task in tasks}


_ARMS: Mapping[str, Callable[[Sequence[Site], Sequence[Task]], Scores]] = {
    BASE: _base,
    SINGLE: _single,
    JOINT: lambda sites, tasks: _shared(sites, tasks, wide=False),
    WIDE: lambda sites, tasks: _shared(sites, tasks, wide=True),
}


def _federated(
    settings: Settings, sites: Sequence[Site], tasks: Sequence[Task]
) -> tuple[EdgeModel, Adapter]:
    model = edge_model(settings)
    ranked = [replace(site, rank=settings.learning.rank) for site in sites]
    books = [_together(site, [task.books[i] for task in tasks]) for i, site in enumerate(sites)]
    with scratch() as folder:
        lab = Lab(settings, ranked, books, model, Path(folder), measure_error=False)
        lab.edge_sites = [
            replace(edge_site, batches=_batches(model, i, tasks))
            for i, edge_site in enumerate(lab.edge_sites)
        ]
        for number in range(1, settings.rounds + 1):
            lab.play_round(number)
    return model, lab.release.shared


def _together(site: Site, books: Sequence[Book]) -> Book:
    """What weighs a site's update: all its records. It learns from `_batches`."""
    return Book(
        site=site,
        train=tuple(record for book in books for record in book.train),
        heldout=books[0].heldout,
    )


def _batches(model: EdgeModel, site: int, tasks: Sequence[Task]) -> Batches:
    parts = []
    for task in tasks:
        its = task.settings.learning
        records = task.books[site].train
        parts.append(
            Part(
                records=[encode(model, one, max_tokens=its.max_tokens) for one in records],
                steps=its.local_steps,
                batch_tokens=its.batch_tokens,
            )
        )
    return lambda seed: in_turn(parts, seed=seed)
