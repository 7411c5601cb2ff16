"""A round at a site: plan and release in, a delta of the shared part out.

contribute   keep the release -> judge it, where it is a candidate -> join it with the personal part
             -> train both -> keep the personal part -> send the shared part's delta
judge        a candidate's held-out loss beside the current release's
settle       the last release arrives -> keep it -> train the personal part alone beside it

Each starts from what is on the shelf of an earlier round, so doing one again gives the same bytes.
"""

import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from clients.adapter_shelf import AdapterShelf, open_shelf
from clients.edge_model import EdgeModel, edge_model
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import Trainable, TrainingResult, train
from clients.prompts.book import Book, read_book
from fl.adapter import Adapter, initial_adapter, subtract
from fl.errors import ReleaseError
from fl.release import AdapterRelease, Delivery, Judgement
from fl.rounds import RoundPlan
from fl.settings import Settings
from fl.sharing import join, part_spec, split
from fl.site import Site
from fl.site_list import site_folder
from fl.update import AdapterUpdate

WORST_LOSS = 1e9  # nats per token; stands for a loss that is no number, which JSON cannot carry

Pause = Callable[[int], None]  # called between steps and held-out batches with the steps taken


@dataclass(frozen=True, kw_only=True)
class EdgeSite:
    """Everything a site works with. `model` may be shared with other sites of the process."""

    site: Site
    book: Book
    model: EdgeModel
    shelf: AdapterShelf
    settings: Settings
    # Somebody else may want the model meanwhile, and leaves the adapter as it was.
    pause: Pause = lambda steps: None


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


def contribute(plan: RoundPlan, release: AdapterRelease, edge_site: EdgeSite) -> AdapterUpdate:
    """Train from the release for one round; return what the shared part has learned."""
    started = time.perf_counter()
    model, book, shelf = edge_site.model, edge_site.book, edge_site.shelf

    # 1. Keep the release: in a later round it may be what a candidate is compared with.
    shelf.keep_release(release, beside=plan.current_release)

    # 2. Judge it, where it is only a candidate.
    personal = _or_first(shelf.personal_before(plan.round_number), release.shared, edge_site)
    judgement = _judgement(plan, release, personal, edge_site)

    # 3. Release + personal part -> one adapter of the joint rank; train both,
    model.set_adapter(_joined(release.shared, personal))
    trained = _train(plan, edge_site, trainable="joint")
    # and score them on what training never sees.
    heldout = _heldout(edge_site, steps=plan.local_steps)

    # 4. The personal part stays, the shared part's delta goes.
    shared = model.adapter()
    if personal is not None:
        shared, personal = split(shared, shared_rank=release.shared.spec.rank)
        shelf.keep_personal(_as_personal(release, personal), round_number=plan.round_number)
    delta = subtract(replace(shared, spec=release.shared.spec), release.shared)
    return AdapterUpdate(
        site_id=edge_site.site.id,
        round_number=plan.round_number,
        based_on_release=plan.release_number,
        delta=delta,
        num_examples=len(book.train),
        train_loss=trained.loss_nats_per_token,
        heldout_loss=heldout,
        seconds=time.perf_counter() - started,
        judgement=judgement,
    )


def judge(plan: RoundPlan, release: AdapterRelease, edge_site: EdgeSite) -> Judgement | None:
    """Compare a candidate with the current release; None where that one never reached this site.

    Nothing is trained. The candidate is kept, for it may be the current release soon.
    """
    shelf = edge_site.shelf
    shelf.keep_release(release, beside=plan.current_release)
    # As the candidate's own round, plan.round_number, left it; the next round starts from it too.
    part = shelf.personal_before(plan.round_number + 1)
    personal = _or_first(part, release.shared, edge_site)
    return _judgement(plan, release, personal, edge_site)


def settle(
    plan: RoundPlan, release: AdapterRelease, edge_site: EdgeSite, *, use: bool = True
) -> Delivery:
    """Keep the last release and train the personal part alone beside it, `plan.local_steps` steps.

    With `use` people are served with the release from now on; an edge service decides that by
    itself, from what the cloud says is current. The release is on the shelf before anything is
    trained: a site that fails here can still use it.
    """
    started = time.perf_counter()
    model, shelf, shared = edge_site.model, edge_site.shelf, release.shared
    shelf.keep_release(release, beside=plan.current_release)
    if use:
        shelf.use(release.number)
    personal = _or_first(shelf.personal_after(plan.round_number), shared, edge_site)
    if personal is None:
        model.set_adapter(shared)
        shared_loss = settled_loss = _heldout(edge_site)
    else:
        model.set_adapter(join(shared, first_personal_part(shared, edge_site)))
        shared_loss = _heldout(edge_site)
        model.set_adapter(join(shared, personal))
        _train(plan, edge_site, trainable="personal")
        settled_loss = _heldout(edge_site, steps=plan.local_steps)
        _, personal = split(model.adapter(), shared_rank=shared.spec.rank)
        part = _as_personal(release, personal)
        shelf.keep_personal(part, round_number=plan.round_number, settled=True)
    return Delivery(
        site_id=edge_site.site.id,
        release_number=plan.release_number,
        shared_heldout_loss=shared_loss,
        settled_heldout_loss=settled_loss,
        seconds=time.perf_counter() - started,
    )


def first_personal_part(release: Adapter, edge_site: EdgeSite) -> Adapter:
    """A personal part that changes nothing yet (B = 0), the same whenever the site draws it."""
    settings = edge_site.settings
    spec = part_spec(release.spec, settings.learning.personal_rank)
    seed = _seed(settings.seed, edge_site.site.id, "personal")
    return initial_adapter(spec, edge_site.model.base.layers, seed=seed)


def _judgement(
    plan: RoundPlan, release: AdapterRelease, personal: Adapter | None, edge_site: EdgeSite
) -> Judgement | None:
    """Both releases beside the same personal part, on the same held-out records."""
    if plan.current_release == plan.release_number:
        return None
    try:
        current = edge_site.shelf.release(plan.current_release)
    except ReleaseError:
        return None  # a damaged copy can be no measure
    if current is None:
        return None
    losses = []
    for shared in (release.shared, current.shared):
        edge_site.model.set_adapter(_joined(shared, personal))
        loss = _heldout(edge_site)
        losses.append(loss if math.isfinite(loss) else WORST_LOSS)
    return Judgement(
        release_number=plan.release_number,
        loss=losses[0],
        current_number=plan.current_release,
        current_loss=losses[1],
    )


def _or_first(part: Adapter | None, release: Adapter, edge_site: EdgeSite) -> Adapter | None:
    """The personal part, a new one at the site's first round; None where nothing is personal."""
    if edge_site.settings.personal == "none":
        return None
    return part or first_personal_part(release, edge_site)


def _joined(shared: Adapter, personal: Adapter | None) -> Adapter:
    return shared if personal is None else join(shared, personal)


def _as_personal(release: AdapterRelease, part: Adapter) -> Adapter:
    """`part` with the exact scale of the release, which splitting may have rounded."""
    return replace(part, spec=part_spec(release.shared.spec, part.spec.rank))


def _heldout(edge_site: EdgeSite, *, steps: int = 0) -> float:
    """Held-out loss of the model's present adapter, in nats per completion token."""
    return heldout_nll(
        edge_site.model,
        edge_site.book.heldout,
        edge_site.settings.learning,
        on_batch=lambda: edge_site.pause(steps),
    ).per_token


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
        on_step=lambda step, loss: edge_site.pause(step),
    )


def _seed(*parts: object) -> int:
    """A seed of its own for every combination, the same in every process (unlike `hash`)."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:6], "big")
