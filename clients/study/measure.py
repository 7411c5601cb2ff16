"""Measure one seed: every arm at every site, then the cloud's answers to what the arms wrote."""

import json
import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from clients.asking.ask import answer_many
from clients.asking.cloud_channel import CloudChannel
from clients.prompts.recall import recall_of
from clients.prompts.record import PromptRecord
from clients.study.arms import Scored
from clients.study.results import CENTRAL, PERSONAL, TEMPLATE, SeedStudy, SiteStudy
from clients.study.site_worker import (
    Measured,
    measure_central,
    measure_late,
    measure_site,
    train_central,
)
from fl.errors import FederationError
from fl.settings import Settings
from fl.site_list import book_path, federated_sites, late_site

ANSWERED_ARMS = (PERSONAL, TEMPLATE)


def measure(settings: Settings, *, channel: CloudChannel | None, console: Console) -> SeedStudy:
    """Measure the newest federation of this seed. `channel` None leaves the answers out.

    Raises FederationError where no federation has delivered its release yet.
    """
    began = time.monotonic()
    sites = federated_sites(settings)
    federation = newest_federation(settings)
    demo = any(site.book is None for site in sites)
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with (
        Progress(*columns, TimeElapsedColumn(), console=console) as progress,
        workers(settings.workers) as pool,
    ):
        # 1. the central model first: the sites are measured while it trains
        bar = progress.add_task(f"study, seed {settings.seed}", total=2 * len(sites) + 1 + demo)
        folder = settings.run_dir / "study" / "central"
        central = pool.submit(train_central, settings, sites, federation, folder)
        measuring = [pool.submit(measure_site, settings, s, sites, federation) for s in sites]
        late = pool.submit(measure_late, settings, late_site(), sites, federation) if demo else None
        central.add_done_callback(lambda _: progress.advance(bar))
        for job in [*measuring, *([late] if late else [])]:
            job.add_done_callback(lambda _: progress.advance(bar))
        # 2. the central model at every site
        central.result()
        told = [pool.submit(measure_central, settings, s, sites, federation, folder) for s in sites]
        for future in told:
            future.add_done_callback(lambda _: progress.advance(bar))
        measured = [_with_central(m.result(), c) for m, c in zip(measuring, told, strict=True)]
        # 3. the cloud answers short and enriched prompts
        studies = [_site_study(settings, m, channel) for m in measured]
        late_study = _site_study(settings, late.result(), None) if late else None
    return SeedStudy(
        seed=settings.seed,
        federation=federation,
        small_book=settings.study.small_book,
        sites=tuple(studies),
        late=late_study,
        seconds=time.monotonic() - began,
    )


def newest_federation(settings: Settings) -> str:
    """The newest federation of this seed that ended well."""
    for folder in sorted((settings.federations_dir).glob("[0-9]*"), reverse=True):
        status = folder / "status.json"
        if status.is_file() and json.loads(status.read_text()).get("state") == "completed":
            return folder.name
    raise FederationError(
        f"No completed federation under {settings.run_dir}. Run ./run.sh simulate first."
    )


def workers(count: int) -> ProcessPoolExecutor:
    """Worker processes of one thread each, fresh so that torch reads its thread count."""
    return ProcessPoolExecutor(
        max_workers=count,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin_worker,
    )


def _begin_worker() -> None:
    """One torch thread, and no life after the parent's: a killed study leaves nothing running."""
    import torch

    os.environ["OMP_NUM_THREADS"] = "1"  # edge_model then leaves the number alone
    torch.set_num_threads(1)
    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def _with_central(measured: Measured, central: "Future[Scored]") -> Measured:
    return replace(measured, arms=measured.arms | {CENTRAL: central.result()})


def _site_study(settings: Settings, measured: Measured, channel: CloudChannel | None) -> SiteStudy:
    asked = measured.heldout[: settings.study.heldout_per_site]
    scores = {name: scored.score for name, scored in measured.arms.items()}
    short: dict[str, float] = {}
    if channel is not None:
        short = _answer_recall(
            [record.short for record in asked], asked, settings, channel, measured.site.id
        )
        for name in ANSWERED_ARMS:
            recall = _answer_recall(
                measured.arms[name].enriched, asked, settings, channel, measured.site.id
            )
            scores[name] = replace(scores[name], answer_recall=recall)
    up, down = _bytes(settings, measured)
    return SiteStudy(
        site_id=measured.site.id,
        train_prompts=measured.train_prompts,
        heldout_prompts=len(measured.heldout),
        arms=scores,
        short_answer_recall=short,
        counterfactual=measured.counterfactual,
        bytes_up=up,
        bytes_down=down,
    )


def _answer_recall(
    prompts: Sequence[str],
    asked: Sequence[PromptRecord],
    settings: Settings,
    channel: CloudChannel,
    site_id: str,
) -> dict[str, float]:
    answers = answer_many(channel, prompts, settings=settings, site_id=site_id)
    recall = recall_of(answers, [record.marks for record in asked])
    return {kind: r.share for kind, r in recall.items()}


def _bytes(settings: Settings, measured: Measured) -> tuple[int, int]:
    """Bytes of adapter tensors up and down in the last round, as the cloud's log counted them."""
    log = settings.federations_dir / newest_federation(settings) / "rounds.jsonl"
    last = json.loads(log.read_text().splitlines()[-1])
    for outcome in last["outcomes"]:
        if outcome["site_id"] == measured.site.id:
            return int(outcome["bytes_up"]), int(outcome["bytes_down"])
    return 0, measured.adapter_bytes


def check_books(settings: Settings) -> None:
    """Raise FederationError before any work where a site has no book."""
    for site in federated_sites(settings):
        if not book_path(settings, site).is_file():
            raise FederationError(
                f"Site {site.id} has no book at {book_path(settings, site)}. Run ./run.sh books."
            )
