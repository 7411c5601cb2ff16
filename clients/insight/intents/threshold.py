"""How sure an intent must be to be answered: below it, a text is out of scope.

A site draws it from the held-out part of its own book, which nothing was learned from: confidences
of texts that were learned are too high. It is kept in a file beside the shelf, with a digest of all
that it follows from; another adapter, book or schema draws another one.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path

from clients.atomic import publish_text
from clients.insight.intents.grammar import one_line
from clients.insight.intents.reading import IntentReader, Judged
from clients.insight.intents.schema import OUT_OF_SCOPE_WORDS
from clients.prompts.record import PromptRecord
from fl.adapter import Adapter, digest

FILE = "threshold.json"
MOST_RECORDS = 400  # more would not make it much surer
TOGETHER = 8  # texts judged in one step


def fit_threshold(judged: Sequence[Judged], out_of_scope: str, false_alarms: float) -> float:
    """The highest threshold at which this share of texts, all in scope, is answered as out of it.

    Those that the model itself calls out of scope count among them. 0 without texts.
    """
    sure = sorted(one.confidence for one in judged if one.best != out_of_scope)
    missed = len(judged) - len(sure)
    more = max(0, math.floor(false_alarms * len(judged) + 1e-9) - missed)
    return sure[more] if more < len(sure) else 0.0


class Threshold:
    """An adapter's: as the file has it, else drawn step by step and kept there.

    One thread at a time, as the model; whoever waits for it may take the next step.
    """

    def __init__(
        self,
        file: Path,
        records: Sequence[PromptRecord],
        reader: IntentReader,
        adapter: Adapter,
        *,
        false_alarms: float,
    ) -> None:
        """`records` are those held out of the site's book."""
        self.records, self.adapter = records, adapter
        self._file, self._reader, self._false_alarms = file, reader, false_alarms
        inside = [one_line(r.short) for r in records if r.enriched != OUT_OF_SCOPE_WORDS]
        self._texts = [text for text in inside if reader.fits(text)][:MOST_RECORDS]
        names = reader.schema.names
        of = [digest(adapter), names, [reader.schema.words(n) for n in names], self._texts]
        self._key = hashlib.sha256(json.dumps([*of, false_alarms]).encode()).hexdigest()
        self._judged: list[Judged] = []
        self.value = _kept(file, self._key)  # None until the last step

    def step(self) -> None:
        """Judge a few more texts; after the last ones there is a value."""
        done = len(self._judged)
        self._judged += self._reader.judge(self.adapter, self._texts[done : done + TOGETHER])
        if len(self._judged) < len(self._texts):
            return
        self.value = fit_threshold(
            self._judged, self._reader.schema.out_of_scope, self._false_alarms
        )
        said = {"of": self._key, "threshold": self.value, "records": len(self._judged)}
        publish_text(self._file, json.dumps(said) + "\n")


def _kept(file: Path, key: str) -> float | None:
    """What the file has under this key; None where it has nothing, or is damaged."""
    try:
        said = json.loads(file.read_bytes())
        found = float(said["threshold"]) if said["of"] == key else math.nan
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if 0 <= found <= 1 else None
