"""The arms of a study at one site: which adapter each is, and how it scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from clients.learning.edge_site import EdgeSite
from clients.learning.evaluation import heldout_nll
from clients.learning.local_training import train
from clients.personal_part import served_adapter
from clients.prompts.recall import Recall, recall_of
from clients.prompts.record import PromptRecord
from clients.study.results import ArmScore
from fl.adapter import Adapter, initial_adapter
from fl.prompt_format import edge_prompt
from fl.settings import Settings

STUDY_SEED = 1_000_003  # of batches; apart from those of the federation's rounds


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A score with the texts it came from; the texts stay in this process and its parent."""

    score: ArmScore
    enriched: tuple[str, ...] = field(repr=False)


def untrained(edge_site: EdgeSite) -> Adapter:
    """The adapter a site starts with alone: the first release and a fresh personal part."""
    model, settings = edge_site.model, edge_site.settings
    first_release = initial_adapter(model.spec, model.base.layers, seed=settings.seed)
    return with_personal(first_release, None, edge_site)


def with_personal(shared: Adapter, personal: Adapter | None, edge_site: EdgeSite) -> Adapter:
    """Shared and personal part as one adapter; without a personal part, one that adds nothing."""
    return served_adapter(
        shared,
        personal,
        layers=edge_site.model.base.layers,
        settings=edge_site.settings,
        site_id=edge_site.site.id,
    )


def train_alone(edge_site: EdgeSite, records: Sequence[PromptRecord], *, steps: int) -> None:
    """Train whatever adapter the model has now, all of it, on these records."""
    learning = edge_site.settings.learning
    train(
        edge_site.model,
        records,
        learning_rate=learning.learning_rate,
        steps=steps,
        batch_tokens=learning.batch_tokens,
        clip_norm=learning.clip_norm,
        seed=edge_site.settings.seed + STUDY_SEED,
        max_tokens=learning.max_tokens,
        bfloat16=learning.bfloat16,
    )


def local_steps(settings: Settings) -> int:
    """Steps a site takes in a whole federation; local-only gets as many."""
    learning = settings.learning
    return settings.rounds * learning.local_steps + learning.settle_steps


def score(
    edge_site: EdgeSite, heldout: Sequence[PromptRecord], others: Sequence[PromptRecord]
) -> Scored:
    """Score the model's present adapter: NLL on all held-out prompts, recall on the first few."""
    model, settings = edge_site.model, edge_site.settings
    own = heldout_nll(model, heldout, settings.learning)
    elsewhere = heldout_nll(model, others, settings.learning) if others else None
    asked = heldout[: settings.study.heldout_per_site]
    enriched = enrich_all(edge_site, asked)
    recall = recall_of(enriched, [record.marks for record in asked])
    return Scored(
        score=ArmScore(
            own_nll=own.per_token,
            own_tokens=own.tokens,
            others_nll=elsewhere.per_token if elsewhere else None,
            recall={kind: r.share for kind, r in recall.items()},
        ),
        enriched=tuple(enriched),
    )


def enrich_all(edge_site: EdgeSite, records: Sequence[PromptRecord]) -> list[str]:
    """Enriched prompts of these records with the model's present adapter."""
    return edge_site.model.generate(
        [edge_prompt(record.card, record.short) for record in records],
        max_new_tokens=edge_site.settings.asking.enriched_tokens,
    )


def template(edge_site: EdgeSite, heldout: Sequence[PromptRecord]) -> Scored:
    """No model: the short prompt with the place's name pasted behind it."""
    asked = heldout[: edge_site.settings.study.heldout_per_site]
    texts = [f"{record.short} in {edge_site.site.place}" for record in asked]
    recall = recall_of(texts, [record.marks for record in asked])
    return Scored(
        score=ArmScore(
            own_nll=None,
            own_tokens=0,
            others_nll=None,
            recall={kind: r.share for kind, r in recall.items()},
        ),
        enriched=tuple(texts),
    )


def told_the_site(record: PromptRecord, place: str) -> PromptRecord:
    """The record as the central model sees it: its card names the site."""
    return record if place in record.card else replace(record, card=f"{place}; {record.card}")


def other_card(
    edge_site: EdgeSite, heldout: Sequence[PromptRecord], others: Sequence[PromptRecord]
) -> dict[str, float]:
    """The same short prompts under cards of other sites that answer the same kind of request.

    Two records are of one kind when their completions start with the same three words.
    """
    pairs = [
        (record, other)
        for record in heldout[: edge_site.settings.study.heldout_per_site]
        if (other := _same_kind(record, others)) is not None
    ]
    moved = [replace(record, card=other.card) for record, other in pairs]
    texts = enrich_all(edge_site, moved) if moved else []
    own = recall_of(texts, [record.marks for record, _ in pairs])
    new = recall_of(texts, [other.marks for _, other in pairs])
    return _shares(own, "own") | _shares(new, "the card's")


def other_adapter(edge_site: EdgeSite, heldout: Sequence[PromptRecord]) -> dict[str, float]:
    """The same prompts and cards, with the adapter of another site set in the model."""
    asked = heldout[: edge_site.settings.study.heldout_per_site]
    texts = enrich_all(edge_site, asked)
    return _shares(recall_of(texts, [record.marks for record in asked]), "own")


def _same_kind(record: PromptRecord, others: Sequence[PromptRecord]) -> PromptRecord | None:
    opening = record.enriched.split()[:3]
    return next((o for o in others if o.enriched.split()[:3] == opening), None)


def _shares(recalls: Mapping[str, Recall], whose: str) -> dict[str, float]:
    return {f"{whose} {kind}": recall.share for kind, recall in recalls.items()}
