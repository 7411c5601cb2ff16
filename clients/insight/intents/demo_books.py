"""Demo books of network intents, written into each demo site's own folder."""

import json
import random
from collections.abc import Iterator

from clients.atomic import publish_text
from clients.prompts.synthesis import HELDOUT_PROMPTS, WrittenBook
from fl.demo_world.network_requests import NetworkRequest, draw_habits, draw_requests
from fl.demo_world.places import BOOK_SIZES, PRIVATE_PLACES
from fl.settings import Settings
from fl.site import Site
from fl.site_list import book_path, federated_sites


def write_demo_intents(settings: Settings) -> Iterator[WrittenBook]:
    """Write intent/book.jsonl of every demo site; same seed, same bytes. `task` is intent."""
    for site in federated_sites(settings):
        if site.book is None and site.intents is None:
            train, heldout = draw_intents(site, seed=settings.seed)
            path = book_path(settings, site)
            lines = [_line(r, "train") for r in train] + [_line(r, "val") for r in heldout]
            publish_text(path, "\n".join(lines) + "\n")
            yield WrittenBook(site=site, path=path, train=len(train), heldout=len(heldout))


def draw_intents(site: Site, *, seed: int) -> tuple[list[NetworkRequest], list[NetworkRequest]]:
    """Training and held-out requests; no text is in both."""
    habits, rng = draw_habits(site.place, seed=seed), random.Random(f"intents {site.id} {seed}")
    seen: set[str] = set()
    size = BOOK_SIZES[PRIVATE_PLACES.index(site.place)]
    train = draw_requests(habits, rng, size, seen=seen)
    return train, draw_requests(habits, rng, HELDOUT_PROMPTS, seen=seen)


def _line(request: NetworkRequest, split: str) -> str:
    record = {
        "text": request.text,
        "intent": request.intent,
        "entities": request.slots,
        "split": split,
    }
    return json.dumps(record, ensure_ascii=False)
