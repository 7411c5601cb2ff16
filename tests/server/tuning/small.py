"""A small corpus with a pattern, a tiny random LLaMA, and settings that tune it in a second."""

import json
from io import StringIO
from pathlib import Path

from rich.console import Console

from fl.settings import Settings, load
from server.tuning.publish import tune_and_publish

PLACES = ("mill", "quay", "hall", "tower", "lock")
TOWNS = ("Elmford", "Ashby", "Norwick", "Dale", "Wold", "Thorpe", "Kirk", "Holm")


def write_corpus(file: Path) -> Path:
    """40 requests and answers of one form, all different."""
    records = [
        {"prompt": f"a table at the {p} in {t}", "completion": f"The {p} in {t} expects you."}
        for p in PLACES
        for t in TOWNS
    ]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    return file


def settings_for(base: Path, var: Path, *more: str) -> Settings:
    """Settings of a tuning in `var`, with keys beside it that all tunings of a test share."""
    corpus = write_corpus(var.parent / "corpus.jsonl")
    return load(
        [
            f"var={var}",
            f"keys={var.parent / 'pki'}",
            f"cloud.model={base}",
            f"foundation.corpus={corpus}",
            "threads=1",
            "tuning.rank=4",
            "tuning.steps=30",
            "tuning.learning_rate=0.01",
            "tuning.batch_tokens=512",
            *more,
        ]
    )


def tuned_and_published(settings: Settings) -> tuple[bool, str]:
    """Whether the new release is current, and what was said."""
    said = StringIO()
    passed = tune_and_publish(settings, Console(file=said, width=200))
    return passed, said.getvalue()
