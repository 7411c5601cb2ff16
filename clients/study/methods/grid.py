"""Which runs the study needs, in which order, on how many processes; done ones are not repeated.

every arm, drift and learning rate with the first seed -> one more rate where the best lies at
the edge of the grid -> the best on the held-out records -> that rate with the other seeds
"""

import hashlib
import json
from collections.abc import Sequence
from concurrent.futures import Future, as_completed
from dataclasses import asdict, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from clients.study.measure import workers
from clients.study.methods.arms import BASE, DRIFTS, Arm, wanted_arms
from clients.study.methods.results import Job, Run, read_run, write_run
from clients.study.methods.run import run_job
from fl.base_model import base_folder, read_base
from fl.errors import FederationError
from fl.settings import Settings
from fl.site_list import book_path, federated_sites

CHOOSES = ("arms", "drifts")  # which runs there are, not what one of them is


def measure_methods(settings: Settings, folder: Path, console: Console) -> list[Run]:
    """All runs of the study, those of the chosen learning rates with recall.

    Runs lie in `folder`, one file each; a study that was stopped goes on. One whose training
    diverges is left out and said.
    """
    arms = wanted_arms(settings)
    folder.mkdir(parents=True, exist_ok=True)
    seeds = range(settings.seed, settings.seed + settings.seeds)
    done: dict[Job, Run] = {}
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
        workers(settings.workers) as pool,
    ):
        first = [job for one in arms for job in first_jobs(settings, one)]
        bar = progress.add_task("learning rates, first seed", total=len(first))

        def carry_out(jobs: Sequence[Job]) -> None:
            waiting: dict[Future[Run], Job] = {}
            for job in jobs:
                if (kept := read_run(folder, job)) is not None:
                    done[job] = kept
                    progress.advance(bar)
                else:
                    waiting[pool.submit(run_job, settings, job, recall=True)] = job
            try:
                for future in as_completed(waiting):
                    keep(waiting[future], future)
                    progress.advance(bar)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise

        def keep(job: Job, future: "Future[Run]") -> None:
            try:
                done[job] = future.result()
            except FederationError as error:  # a rate so large that training diverged
                console.print(Text(f"  {job.key} is left out: {error}"), soft_wrap=True)
            else:
                write_run(folder, done[job])

        carry_out(first)
        kinds = [(one.name, drift) for one in arms for drift in drifts_of(settings, one)]
        beyond = [
            job
            for name, drift in kinds
            if (job := beyond_edge(best_rate(list(done.values()), name, drift), settings))
        ]
        bar = progress.add_task("beyond the grid's edge", total=len(beyond))
        carry_out(beyond)
        chosen = [best_rate(list(done.values()), name, drift) for name, drift in kinds]
        more = [
            replace(best, seed=seed)
            for seed in seeds[1:]
            for drift in DRIFTS
            for best in chosen
            if best.drift == drift
        ]
        bar = progress.add_task("the other seeds", total=len(more))
        carry_out(more)
    return [done[job] for job in (*first, *beyond, *more) if job in done]


def runs_folder(settings: Settings) -> Path:
    """Where the runs of exactly this study lie: other settings, books or base have other runs."""
    sites = federated_sites(settings)
    base = read_base(base_folder(settings, "edge"), settings.learning.target_modules)
    decides = [
        asdict(settings.learning),
        {k: v for k, v in asdict(settings.study).items() if k not in CHOOSES},
        settings.asking.enriched_tokens,
        [settings.federation.uplink, settings.federation.feedback_rounds],
        [settings.site.rank, settings.site.memory_mb],
        base.fingerprint,
        [(s.id, s.rank, s.memory_mb, _digest(book_path(settings, s))) for s in sites],
    ]
    key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
    return settings.run_dir / "study-methods" / f"runs-{key}"


def _digest(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def drifts_of(settings: Settings, one: Arm) -> Sequence[str]:
    """Baselines have no rounds, so drift is nothing to them."""
    return [d for d in DRIFTS if d in settings.study.drifts] if one.federated else DRIFTS[:1]


def first_jobs(settings: Settings, one: Arm) -> list[Job]:
    """The learning-rate grid of an arm with the first seed; the base model has nothing to learn."""
    rates = settings.study.learning_rates
    return [
        Job(arm=one.name, drift=drift, learning_rate=rate, seed=settings.seed)
        for drift in drifts_of(settings, one)
        for rate in (rates[:1] if one.name == BASE else rates)
    ]


def beyond_edge(best: Job, settings: Settings) -> Job | None:
    """The run with twice the largest rate, or half the smallest, where that one was best."""
    rates = settings.study.learning_rates
    if best.arm == BASE or best.learning_rate not in (min(rates), max(rates)) or len(rates) < 2:
        return None
    factor = 2.0 if best.learning_rate == max(rates) else 0.5
    return replace(best, learning_rate=best.learning_rate * factor)


def best_rate(runs: Sequence[Run], arm: str, drift: str) -> Job:
    """The job of the first seed whose mean held-out NLL over sites is lowest.

    Raises FederationError where no learning rate gave a run.
    """
    seed = min((run.job.seed for run in runs), default=0)
    grid = [run for run in runs if (run.job.arm, run.job.drift, run.job.seed) == (arm, drift, seed)]
    if not grid:
        raise FederationError(
            f"No learning rate of {arm}, {drift} drift, gave a run. Lower study.learning_rates."
        )
    return min(grid, key=lambda run: run.mean_nll).job
