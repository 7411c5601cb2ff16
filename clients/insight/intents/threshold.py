"""How sure an intent must be to be answered: below it, a text is out of scope.

A site draws it from the held-out part of its own book, which nothing was learned from: confidences
of texts that were learned are too high. It is kept in a file beside the shelf, with the adapter it
was drawn for; another adapter draws another one.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

from clients.atomic import publish_text
from clients.insight.intents.reading import Between, IntentReader, Judged
from clients.insight.intents.schema import OUT_OF_SCOPE_WORDS
from clients.prompts.record import PromptRecord
from fl.adapter import Adapter, digest

FILE = "threshold.json"
MOST_RECORDS = 400  # more would not make it much surer


def fit_threshold(judged: Sequence[Judged], out_of_scope: str, false_alarms: float) -> float:
    """The highest threshold at which this share of texts, all in scope, is answered as out of it.

    Those that the model itself calls out of scope count among them. 0 without texts.
    """
    sure = sorted(one.confidence for one in judged if one.best != out_of_scope)
    missed = len(judged) - len(sure)
    more = max(0, math.floor(false_alarms * len(judged) + 1e-9) - missed)
    return sure[more] if more < len(sure) else 0.0


def threshold_of(
    file: Path,
    records: Sequence[PromptRecord],
    reader: IntentReader,
    adapter: Adapter,
    *,
    false_alarms: float,
    between: Between | None = None,
) -> float:
    """The adapter's threshold: as the file has it, else drawn from held-out records and kept."""
    key = f"{digest(adapter)} {reader.schema.name} {false_alarms:g}"
    if (found := _kept(file, key)) is not None:
        return found
    inside = [record.short for record in records if record.enriched != OUT_OF_SCOPE_WORDS]
    read = [text for text in inside if reader.fits(text)][:MOST_RECORDS]
    judged = reader.judge(adapter, read, between=between)
    threshold = fit_threshold(judged, reader.schema.out_of_scope, false_alarms)
    said = {"of": key, "threshold": threshold, "records": len(judged)}
    publish_text(file, json.dumps(said) + "\n")
    return threshold


def _kept(file: Path, key: str) -> float | None:
    """What the file has for this adapter; None where it has nothing, or is damaged."""
    try:
        said = json.loads(file.read_bytes())
        return float(said["threshold"]) if said["of"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
