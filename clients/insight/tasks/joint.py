"""One adapter for all tasks against an adapter a task, federated on the same books.

Every arm sees every task's records for the same number of steps: the joint adapter takes as many as
the single ones together, and has as many directions as the widest of them, or as all together.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clients.edge_model import EdgeModel, edge_model
from clients.insight.books import read_task_book
from clients.learning.evaluation import heldout_nll
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

Books = Mapping[str, Sequence[Book]]  # task -> a book for each site
Nlls = Mapping[str, float]  # task -> nats per completion token, all sites' held-out records


@dataclass(frozen=True, kw_only=True)
class Joint:
    """One seed: what each arm reaches at each task."""

    seed: int
    nll: Mapping[str, Nlls]  # by arm


def measure_joint(settings: Settings, on_arm: Callable[[str], None]) -> Joint:
    """All arms, without personal parts: what is compared is what is shared.

    Raises BookError where a task's books are not written yet.
    """
    settings = replace(settings, personal="none", method="fedavg", rounds=settings.insight.rounds)
    sites = federated_sites(settings)
    books = {
        task: [read_task_book(with_task(settings, task), site) for site in sites] for task in TASKS
    }
    found: dict[str, Nlls] = {}
    for arm in ARMS:
        on_arm(arm)
        found[arm] = _ARMS[arm](settings, sites, books)
    return Joint(seed=settings.seed, nll=found)


def _base(settings: Settings, sites: Sequence[Site], books: Books) -> Nlls:
    model = edge_model(settings)
    nothing = initial_adapter(model.spec, model.base.layers, seed=settings.seed)
    return {task: _nll(model, nothing, books[task], settings) for task in TASKS}


def _single(settings: Settings, sites: Sequence[Site], books: Books) -> Nlls:
    found = {}
    for task in TASKS:
        own = _of_task(settings, task)
        model, release = _federated(own, sites, books[task])
        found[task] = _nll(model, release, books[task], own)
    return found


def _joint(settings: Settings, sites: Sequence[Site], books: Books, *, wide: bool = False) -> Nlls:
    steps = sum(_of_task(settings, task).learning.local_steps for task in TASKS)
    ranks = [_of_task(settings, task).learning.rank for task in TASKS]
    rank = sum(ranks) if wide else max(ranks)
    scale = settings.learning.alpha / settings.learning.rank
    learning = replace(
        settings.learning,
        local_steps=steps,
        rank=rank,
        alpha=scale * rank,
        final_rate=min(_of_task(settings, task).learning.final_rate for task in TASKS),
    )
    own = replace(settings, learning=learning)
    mixed = [
        Book(
            site=site,
            train=tuple(record for task in TASKS for record in books[task][i].train),
            heldout=tuple(record for task in TASKS for record in books[task][i].heldout),
        )
        for i, site in enumerate(sites)
    ]
    model, release = _federated(own, sites, mixed)
    return {task: _nll(model, release, books[task], own) for task in TASKS}


_ARMS: Mapping[str, Callable[[Settings, Sequence[Site], Books], Nlls]] = {
    BASE: _base,
    SINGLE: _single,
    JOINT: _joint,
    WIDE: lambda settings, sites, books: _joint(settings, sites, books, wide=True),
}


def _of_task(settings: Settings, task: str) -> Settings:
    """The task's own steps and rates, and everything else as it is."""
    own = with_task(settings, task)
    return replace(own, personal="none", method="fedavg", rounds=settings.rounds)


def _federated(
    settings: Settings, sites: Sequence[Site], books: Sequence[Book]
) -> tuple[EdgeModel, Adapter]:
    model = edge_model(settings)
    ranked = [replace(site, rank=settings.learning.rank) for site in sites]
    with scratch() as folder:
        lab = Lab(settings, ranked, books, model, Path(folder))
        for number in range(1, settings.rounds + 1):
            lab.play_round(number)
    return model, lab.release.shared


def _nll(model: EdgeModel, adapter: Adapter, books: Sequence[Book], settings: Settings) -> float:
    model.set_adapter(adapter)
    parts = [heldout_nll(model, book.heldout, settings.learning) for book in books]
    return sum(part.nats for part in parts) / sum(part.tokens for part in parts)
