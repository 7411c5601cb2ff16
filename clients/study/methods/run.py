"""One run of the study in one process: a federation or a baseline, measured at every site."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from clients.capability import site_rank
from clients.edge_model import EdgeModel, edge_model
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import train
from clients.prompts.book import Book, read_book
from clients.prompts.recall import recall_of
from clients.prompts.record import PromptRecord
from clients.study.methods.arms import BASE, CENTRAL, LOCAL, arm, settings_of
from clients.study.methods.laboratory import Lab, Played, defined, scratch
from clients.study.methods.results import Job, RoundPoint, Run, SiteScore
from fl.adapter import Adapter, initial_adapter
from fl.prompt_format import completion, edge_prompt
from fl.settings import Settings
from fl.sharing import part_spec
from fl.site_list import book_path, federated_sites

STUDY_SEED = 1_000_003  # of a baseline's batches


def run_job(settings: Settings, job: Job, *, recall: bool) -> Run:
    """Carry out one run. `recall` also writes enriched prompts and counts what they name."""
    began = time.perf_counter()
    one = arm(job.arm)
    own = settings_of(settings, one, job.drift, learning_rate=job.learning_rate, seed=job.seed)
    model = edge_model(replace(own, threads=1))
    sites = federated_sites(own)
    books = [read_book(book_path(own, site), site=site) for site in sites]
    if one.federated:
        with scratch() as folder:
            ranked = [replace(site, rank=site_rank(own, site, model.base.layers)) for site in sites]
            lab = Lab(own, ranked, books, model, Path(folder))
            played = lab.play(lambda lab: _nll_everywhere(lab, model, books, own))
            adapters = [lab.served(edge_site) for edge_site in lab.edge_sites]
        rounds, rank = tuple(map(_point, played)), lab.release.shared.spec.rank
    else:
        adapters, books = _baseline(one.name, own, model, books)
        rounds, rank = (), adapters[0].spec.rank
    return Run(
        job=job,
        rounds=rounds,
        sites={
            site.id: _score(model, adapter, book, own, recall=recall)
            for site, adapter, book in zip(sites, adapters, books, strict=True)
        },
        train_prompts={s.id: len(b.train) for s, b in zip(sites, books, strict=True)},
        seconds=time.perf_counter() - began,
        rank=rank,
    )


def _baseline(
    name: str, settings: Settings, model: EdgeModel, books: Sequence[Book]
) -> tuple[list[Adapter], list[Book]]:
    """(the adapter of each site, the books as the arm sees them).

    Baselines have as many directions as the shared and the personal part of `dual` together, and as
    many steps as a site takes in a federation; the central model as many as all sites together.
    """
    learning = settings.learning
    spec = part_spec(model.spec, learning.rank + learning.personal_rank)
    first = initial_adapter(spec, model.base.layers, seed=settings.seed)
    steps = settings.rounds * learning.local_steps + learning.settle_steps
    if name == BASE:
        return [first] * len(books), list(books)
    if name == LOCAL:
        trained = [_trained(model, first, book.train, steps, settings) for book in books]
        return trained, list(books)
    if name == CENTRAL:
        books = [_untold(book) for book in books]
    pooled = [record for book in books for record in book.train]
    central = _trained(model, first, pooled, steps * len(books), settings)
    return [central] * len(books), list(books)


def _untold(book: Book) -> Book:
    """The book without cards: on this text a card is the name of the site."""
    blank: Callable[[PromptRecord], PromptRecord] = lambda r: replace(r, card="")  # noqa: E731
    return replace(
        book, train=tuple(map(blank, book.train)), heldout=tuple(map(blank, book.heldout))
    )


def _trained(
    model: EdgeModel,
    first: Adapter,
    records: Sequence[PromptRecord],
    steps: int,
    settings: Settings,
) -> Adapter:
    learning = settings.learning
    model.set_adapter(first)
    train(
        model,
        records,
        learning_rate=learning.learning_rate,
        steps=steps,
        batch_tokens=learning.batch_tokens,
        clip_norm=learning.clip_norm,
        seed=settings.seed + STUDY_SEED,
        max_tokens=learning.max_tokens,
        bfloat16=learning.bfloat16,
    )
    return model.adapter()


def _nll_everywhere(
    lab: Lab, model: EdgeModel, books: Sequence[Book], settings: Settings
) -> dict[str, float]:
    """Every site's held-out NLL, served as it would be now."""
    found = {}
    for edge_site, book in zip(lab.edge_sites, books, strict=True):
        model.set_adapter(lab.served(edge_site))
        nll = heldout_nll(model, book.heldout, settings.learning)
        found[edge_site.site.id] = nll.per_token
    return found


def _score(
    model: EdgeModel, adapter: Adapter, book: Book, settings: Settings, *, recall: bool
) -> SiteScore:
    model.set_adapter(adapter)
    nll = heldout_nll(model, book.heldout, settings.learning)
    named: dict[str, tuple[int, int]] = {}
    if recall:
        texts = model.generate(
            [edge_prompt(record.card, record.short) for record in book.heldout],
            max_new_tokens=settings.asking.enriched_tokens,
        )
        found = recall_of(texts, [record.marks for record in book.heldout])
        named = {kind: (r.found, r.looked_for) for kind, r in found.items()}
    return SiteScore(
        nats=nll.nats,
        tokens=nll.tokens,
        characters=sum(len(completion(record.enriched)) for record in book.heldout),
        recall=named,
    )


def _point(played: Played) -> RoundPoint:
    return RoundPoint(
        number=played.number,
        bytes_up=played.bytes_up,
        bytes_down=played.bytes_down,
        error=defined(played.error),
        nll=played.nll,
    )
