"""Demo books of trends: windows of each demo site's hourly requests, in its own folder."""

import json
from collections.abc import Iterator

from clients.atomic import publish_text
from clients.insight.trends.encoding import HISTORY, NEXT
from clients.prompts.synthesis import HELDOUT_PROMPTS, WrittenBook
from fl.demo_world.places import BOOK_SIZES, PRIVATE_PLACES
from fl.demo_world.rhythms import HOUR, START, draw_counts
from fl.settings import Settings
from fl.site import Site
from fl.site_list import book_path, federated_sites


def write_demo_trends(settings: Settings) -> Iterator[WrittenBook]:
    """Write trend/book.jsonl of every demo site; same seed, same bytes. `task` is trend."""
    for site in federated_sites(settings):
        if site.book is None and site.trends is None:
            lines, train = draw_windows(site, seed=settings.seed)
            path = book_path(settings, site)
            publish_text(path, "".join(f"{line}\n" for line in lines))
            yield WrittenBook(site=site, path=path, train=train, heldout=len(lines) - train)


def draw_windows(site: Site, *, seed: int) -> tuple[list[str], int]:
    """(lines, how many of them are for training); the held-out hours come after all others."""
    train = BOOK_SIZES[PRIVATE_PLACES.index(site.place)]
    begins = train + HISTORY + NEXT - 1  # of the held-out hours
    counts = draw_counts(site.place, hours=begins + HISTORY + HELDOUT_PROMPTS + NEXT - 1, seed=seed)
    starts = [*range(train), *range(begins, begins + HELDOUT_PROMPTS)]
    return [_line(counts, i, "train" if i < train else "val") for i in starts], train


def _line(counts: list[int], start: int, split: str) -> str:
    last = start + HISTORY
    record = {
        "history": counts[start:last],
        "targets": counts[last : last + NEXT],
        "t": (START + (last - 1) * HOUR).isoformat(),
        "split": split,
    }
    return json.dumps(record)
