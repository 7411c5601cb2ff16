"""Demo books: each demo site's private prompts and live facts, written into its own folder."""

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from clients.atomic import publish_text
from fl.demo_world.places import (
    ALL_INTENTS,
    BOOK_SIZES,
    PRIVATE_PLACES,
    draw_card,
    draw_private_place,
)
from fl.demo_world.requests import DemoRequest, private_request
from fl.prompt_format import render_card
from fl.settings import Settings
from fl.site import Site
from fl.site_list import federated_sites, late_site, site_folder

HELDOUT_PROMPTS = 48
LIVE_KEYS = ("cafe", "depot", "clinic", "market", "pool")  # of the venues on the first card


@dataclass(frozen=True, kw_only=True)
class WrittenBook:
    """A book on disk: where, and how many training and held-out prompts."""

    site: Site
    path: Path
    train: int
    heldout: int


def write_demo_books(settings: Settings) -> Iterator[WrittenBook]:
    """Write book.jsonl and place.json of every demo site, the late one too; same seed, same bytes.

    place.json is left alone where it exists: it is the site's to edit.
    """
    demo = [site for site in federated_sites(settings) if site.book is None]
    for site in [*demo, late_site()] if demo else []:
        size = BOOK_SIZES[PRIVATE_PLACES.index(site.place)]
        if site == late_site():
            size = settings.study.late_joiner_prompts
        train, heldout = draw_book(site, size=size, seed=settings.seed)
        folder = site_folder(settings, site.id)
        lines = [_line(r, "train") for r in train] + [_line(r, "val") for r in heldout]
        publish_text(folder / "book.jsonl", "\n".join(lines) + "\n")
        if not (folder / "place.json").exists():
            publish_text(
                folder / "place.json", json.dumps(_live_facts(site, settings.seed), indent=2) + "\n"
            )
        yield WrittenBook(
            site=site, path=folder / "book.jsonl", train=len(train), heldout=len(heldout)
        )


def _live_facts(site: Site, seed: int) -> dict[str, str]:
    """What a demo place knows on its first day; the same kinds of venue are open everywhere."""
    place = draw_private_place(site.place, seed=seed)
    rng = random.Random(f"live {site.id} {seed}")
    wanted, *others = [intent for intent in ALL_INTENTS if intent.key in LIVE_KEYS]
    return draw_card(place, wanted, tuple(others), rng)


def draw_book(
    site: Site, *, size: int, seed: int
) -> tuple[tuple[DemoRequest, ...], tuple[DemoRequest, ...]]:
    """Training and held-out requests. Every held-out card and (intent, time, venue) is new.

    Some of the training requests are a person's, held-out ones nobody's.
    """
    place = draw_private_place(site.place, seed=seed)
    rng, people = random.Random(f"book {site.id} {seed}"), random.Random(f"people {site.id} {seed}")
    train = _distinct(size, lambda: private_request(place, rng, people), seen=set())
    seen = {key for request in train for key in _novelty(request)}
    heldout = _distinct(HELDOUT_PROMPTS, lambda: private_request(place, rng), seen=seen)
    return tuple(train), tuple(heldout)


def _distinct(count: int, draw: Callable[[], DemoRequest], *, seen: set[str]) -> list[DemoRequest]:
    found: list[DemoRequest] = []
    while len(found) < count:
        request = draw()
        if not seen.intersection(_novelty(request)):
            found.append(request)
    return found


def _novelty(request: DemoRequest) -> tuple[str, str]:
    told = request.person.facts()
    return (
        render_card({key: text for key, text in request.card.items() if key not in told}),
        f"{request.intent} {request.card['time']} {request.facts[0]}",
    )


def _line(request: DemoRequest, split: str) -> str:
    record = {
        "prompt": request.short,
        "completion": request.enriched,
        "context": render_card(request.card),
        "split": split,
        "marks": {"fact": request.facts, "habit": request.habits},
        "answer_marks": request.knowhow,
    }
    return json.dumps(record, ensure_ascii=False)
