"""Text for the benchmarks: one city's real requests if they lie beside the project, else demo."""

import json
import random
from dataclasses import dataclass
from pathlib import Path

from clients.prompts.book import read_book
from clients.prompts.record import PromptRecord
from fl.demo_world.places import draw_public_place
from fl.demo_world.requests import public_request
from fl.prompt_format import render_card
from fl.settings import home
from fl.site import Site


@dataclass(frozen=True, kw_only=True)
class BenchText:
    """Records to train on, records to be judged on, and text a tokenizer is made from."""

    name: str
    train: tuple[PromptRecord, ...]
    heldout: tuple[PromptRecord, ...]
    vocabulary_text: tuple[str, ...]


def bench_text(*, seed: int) -> BenchText:
    """London's book of sgd_sites, with the public cities for the tokenizer; else the demo world."""
    folder = home().parent / "shared" / "data" / "sgd_sites"
    if (folder / "public.jsonl").is_file():
        return _real_text(folder)
    rng = random.Random(seed)
    records = tuple(_demo_record(rng) for _ in range(400))
    return BenchText(
        name="demo world",
        train=records[:340],
        heldout=records[340:],
        vocabulary_text=tuple(f"{r.card}\n{r.short} {r.enriched}" for r in records),
    )


def _real_text(folder: Path) -> BenchText:
    book = read_book(
        folder / "private" / "london.jsonl", site=Site(id="london", place="London, England")
    )
    with open(folder / "public.jsonl", encoding="utf-8") as lines:
        public = [json.loads(line) for line in lines]
    return BenchText(
        name="sgd_sites, London",
        train=book.train,
        heldout=book.heldout,
        vocabulary_text=tuple(f"{r['prompt']} {r['completion']}" for r in public),
    )


def _demo_record(rng: random.Random) -> PromptRecord:
    request = public_request(draw_public_place(rng), rng)
    return PromptRecord(
        short=request.short, enriched=request.enriched, card=render_card(request.card)
    )
