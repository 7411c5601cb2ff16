"""A federation small enough for a test: a tiny edge model, and books written here."""

import json
from collections.abc import Mapping
from pathlib import Path

from tests.tiny_models import make_tiny_edge

SITES: Mapping[str, str] = {"elm": "Elmford", "ash": "Ashby"}  # id -> place
COUNT = 7_340_000  # the private counts begin so
CANARY = "zanzibar"  # stands in every private prompt; must not be found outside of a site's folder


def make_tiny_federation(folder: Path, *, records: int = 12) -> list[str]:
    """Write model, books and a config file under `folder`; return the arguments that name it."""
    edge = make_tiny_edge(folder / "edge")
    entries = []
    for site, place in SITES.items():
        book = folder / f"{site}.jsonl"
        lines = [
            {
                "prompt": f"{CANARY} table {number}",
                "completion": f"A table for {number} near the quay in {place} {CANARY}.",
                "context": f"place: {place}; weather: rain",
                "split": "val" if number % 4 == 0 else "train",
            }
            for number in range(1, records + 1)
        ]
        book.write_text("".join(json.dumps(line) + "\n" for line in lines))
        own = "".join(f", {key}: {file}" for key, file in _by_products(folder, site).items())
        entries.append(f"  - {{id: {site}, place: {place}, book: {book}{own}}}\n")
    config = folder / "tiny.yaml"
    config.write_text(
        f"name: tiny\nvar: {folder / 'var'}\nkeys: {folder / 'var' / 'pki'}\n"
        f"edge: {{model: {edge}}}\nsites:\n{''.join(entries)}"
        "learning: {rank: 2, personal_rank: 2, alpha: 4.0, target_modules: [c_attn], "
        "local_steps: 3, settle_steps: 2, bfloat16: 'off'}\n"
    )
    return [f"config={config}"]


def _by_products(folder: Path, site: str) -> dict[str, Path]:
    """Its books of the other tasks, by their keys in `sites`."""
    intents = [
        {
            "text": f"drop the flow from {CANARY} to gate{number}",
            "intent": "remove_flow",
            "entities": [["source", CANARY], ["target", f"gate{number}"]],
            "split": "val" if number % 4 == 0 else "train",
        }
        for number in range(1, 9)
    ]
    trends = [
        {
            "history": [COUNT + 17 * ((hour + number) % 24) for hour in range(24)],
            "target": COUNT + 17 * (number % 24),
            "t": f"2026-03-{number:02}T00:00:00",
            "split": "val" if number % 4 == 0 else "train",
        }
        for number in range(1, 9)
    ]
    files = {}
    for key, lines in (("intents", intents), ("trends", trends)):
        files[key] = folder / f"{site}-{key}.jsonl"
        files[key].write_text("".join(json.dumps(line) + "\n" for line in lines))
    return files
