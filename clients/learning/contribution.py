"""A round at a site: plan and release in, a delta of the shared part out.

contribute   join release and personal part -> train both -> keep the personal part -> send the
             shared part's delta
settle       the last release arrives -> keep it -> train the personal part alone beside it
"""

import hashlib
import time
from dataclasses import dataclass, replace

from clients.adapter_shelf import AdapterShelf, open_shelf
from clients.edge_model import EdgeModel, edge_model
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import Trainable, TrainingResult, train
from clients.prompts.book import Book, read_book
from fl.adapter import Adapter, initial_adapter, subtract
from fl.rounds import RoundPlan
from fl.settings import Settings
from fl.sharing import join, part_spec, split
from fl.site import Site
from fl.site_list import site_folder
from fl.update import AdapterUpdate


@dataclass(frozen=True, kw_only=True)
class EdgeSite:
    """Everything a site works with. `model` may be shared with other sites of the process."""

    site: Site
    book: Book
    model: EdgeModel
    shelf: AdapterShelf
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class SettleResult:
    """The last release at a site. Losses in nats per held-out completion token."""

    site_id: str
    shared_heldout_loss: float  # with the release alone
    settled_heldout_loss: float  # with the release and the personal part, after its training
    num_heldout: int  # records
    seconds: float


def open_edge_site(settings: Settings, site: Site, federation: str) -> EdgeSite:
    """Read the site's book (BookError before any model is loaded), then get model and shelf."""
    path = site.book or site_folder(settings, site.id) / "book.jsonl"
    return EdgeSite(
        site=site,
        book=read_book(path, site=site),
        model=edge_model(settings),
        shelf=open_shelf(settings, site.id, federation),
        settings=settings,
    )


def contribute(plan: RoundPlan, release: Adapter, edge_site: EdgeSite) -> AdapterUpdate:
    """Train from the release for one round; return what the shared part has learned."""
    started = time.perf_counter()
    model, book = edge_site.model, edge_site.book

    # 1. release + personal part -> one adapter of the joint rank
    personal = _personal_part(release, edge_site)
    model.set_adapter(release if personal is None else join(release, personal))

    # 2. train both parts, judge them on what training never sees
    trained = _train(plan, edge_site, trainable="joint")
    heldout = heldout_nll(model, book.heldout, edge_site.settings.learning)

    # 3. the personal part stays, the shared part's delta goes
    shared = model.adapter()
    if personal is not None:
        shared, personal = split(shared, shared_rank=release.spec.rank)
        edge_site.shelf.keep_personal(_as_personal(release, personal))
    delta = subtract(replace(shared, spec=release.spec), release)
    return AdapterUpdate(
        site_id=edge_site.site.id,
        round_number=plan.round_number,
        based_on_release=plan.release_number,
        delta=delta,
        num_examples=len(book.train),
        train_loss=trained.loss_nats_per_token,
        heldout_loss=heldout.per_token,
        seconds=time.perf_counter() - started,
    )


def settle(plan: RoundPlan, release: Adapter, edge_site: EdgeSite) -> SettleResult:
    """Keep the last release and train the personal part alone beside it, `plan.local_steps` steps.

    The release is on the shelf before anything is trained: a site that fails here can still use it.
    """
    started = time.perf_counter()
    model, book, learning = edge_site.model, edge_site.book, edge_site.settings.learning
    edge_site.shelf.keep_release(plan.release_number, release)
    personal = _personal_part(release, edge_site)
    if personal is None:
        model.set_adapter(release)
        shared_loss = settled_loss = heldout_nll(model, book.heldout, learning).per_token
    else:
        model.set_adapter(join(release, first_personal_part(release, edge_site)))
        shared_loss = heldout_nll(model, book.heldout, learning).per_token
        model.set_adapter(join(release, personal))
        _train(plan, edge_site, trainable="personal")
        settled_loss = heldout_nll(model, book.heldout, learning).per_token
        _, personal = split(model.adapter(), shared_rank=release.spec.rank)
        edge_site.shelf.keep_personal(_as_personal(release, personal))
    return SettleResult(
        site_id=edge_site.site.id,
        shared_heldout_loss=shared_loss,
        settled_heldout_loss=settled_loss,
        num_heldout=len(book.heldout),
        seconds=time.perf_counter() - started,
    )


def _personal_part(release: Adapter, edge_site: EdgeSite) -> Adapter | None:
    """The site's personal part, a new one at its first round; None where nothing is personal."""
    if edge_site.settings.personal == "none":
        return None
    return edge_site.shelf.personal() or first_personal_part(release, edge_site)


def first_personal_part(release: Adapter, edge_site: EdgeSite) -> Adapter:
    """A personal part that changes nothing yet (B = 0), the same whenever the site draws it."""
    settings = edge_site.settings
    spec = part_spec(release.spec, settings.learning.personal_rank)
    seed = _seed(settings.seed, edge_site.site.id, "personal")
    return initial_adapter(spec, edge_site.model.base.layers, seed=seed)


def _as_personal(release: Adapter, part: Adapter) -> Adapter:
    """`part` with the exact scale of the release, which splitting may have rounded."""
    return replace(part, spec=part_spec(release.spec, part.spec.rank))


def _train(plan: RoundPlan, edge_site: EdgeSite, *, trainable: Trainable) -> TrainingResult:
    learning = edge_site.settings.learning
    return train(
        edge_site.model,
        edge_site.book.train,
        learning_rate=plan.learning_rate,
        steps=plan.local_steps,
        batch_tokens=plan.batch_tokens,
        clip_norm=plan.clip_norm,
        seed=_seed(plan.seed, edge_site.site.id, plan.round_number),
        max_tokens=learning.max_tokens,
        bfloat16=learning.bfloat16,
        trainable=trainable,
    )


def _seed(*parts: object) -> int:
    """A seed of its own for every combination, the same in every process (unlike `hash`)."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")
