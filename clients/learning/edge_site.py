"""A site at work: its book, the model, its shelf, and the two things done with them.

The model may be shared with other sites of the process, so whoever trains or scores sets the
adapter first.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from clients.adapter_shelf import AdapterShelf, open_shelf
from clients.capability import site_rank
from clients.edge_model import EdgeModel, edge_model
from clients.insight.books import read_task_book
from clients.learning.batching import EncodedRecord, TokenBatch, encode
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import Pull, Still, TrainingResult, train
from clients.personal_part import first_part, kind, release_view, seed_of
from clients.prompts.book import Book
from fl.adapter import Adapter
from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from fl.settings import Settings
from fl.site import Site

Batches = Callable[[int], Iterator[TokenBatch]]  # seed of a round -> its batches
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
    batches: Batches | None = None  # what it learns from where that is not its book alone

    @property
    def rank(self) -> int:
        """The rank it can train."""
        return site_rank(self.settings, self.site, self.model.base.layers)

    @cached_property
    def encoded(self) -> list[EncodedRecord]:
        """What it learns from; a book takes as long as some steps, so it is encoded once."""
        longest = self.settings.learning.max_tokens
        return [encode(self.model, record, max_tokens=longest) for record in self.book.train]


def open_edge_site(settings: Settings, site: Site, federation: str) -> EdgeSite:
    """Read the site's book (BookError before any model is loaded), then get model and shelf."""
    return EdgeSite(
        site=site,
        book=read_task_book(settings, site),
        model=edge_model(settings),
        shelf=open_shelf(settings, site.id, federation),
        settings=settings,
    )


def part_or_first(
    part: Adapter | None, release: AdapterRelease, edge_site: EdgeSite
) -> Adapter | None:
    """The personal part, a new one at the site's first round; None where none learns in rounds."""
    if kind(edge_site.settings) in ("none", "copy"):
        return None
    shared = release_view(release, edge_site.rank)
    layers, site_id = edge_site.model.base.layers, edge_site.site.id
    return part or first_part(shared, layers, edge_site.settings, site_id)


def heldout(edge_site: EdgeSite, *, steps: int = 0) -> float:
    """Held-out loss of the model's present adapter, in nats per completion token."""
    return heldout_nll(
        edge_site.model,
        edge_site.book.heldout,
        edge_site.settings.learning,
        on_batch=lambda: edge_site.pause(steps),
    ).per_token


def train_here(
    plan: RoundPlan,
    edge_site: EdgeSite,
    *,
    still: Still = Still(),  # noqa: B008 - frozen
    pull: Pull | None = None,
) -> TrainingResult:
    learning = edge_site.settings.learning
    seed = seed_of(plan.seed, edge_site.site.id, plan.round_number)
    return train(
        edge_site.model,
        edge_site.book.train,
        learning_rate=plan.learning_rate,
        steps=plan.local_steps,
        batch_tokens=plan.batch_tokens,
        clip_norm=plan.clip_norm,
        seed=seed,
        max_tokens=learning.max_tokens,
        bfloat16=learning.bfloat16,
        still=still,
        pull=pull,
        optimizer=plan.optimizer,
        encoded=edge_site.encoded if edge_site.batches is None else None,
        batches=edge_site.batches(seed) if edge_site.batches else None,
        dropout=learning.prompt_dropout,
        on_step=lambda step, loss: edge_site.pause(step),
    )


def trained_toward(plan: RoundPlan, part: Adapter, shared: Adapter, edge_site: EdgeSite) -> Adapter:
    """Ditto's step: a whole adapter of the site's own, pulled to the shared one."""
    strength = edge_site.settings.learning.ditto_lambda
    edge_site.model.set_adapter(part)
    every = slice(0, shared.spec.rank)
    pull = Pull(strength=strength, toward=shared.tensors, directions=every)
    train_here(plan, edge_site, pull=pull)
    return edge_site.model.adapter()
