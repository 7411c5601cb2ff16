"""The data sets of the study of intents: read, checked by their schema, and split.

clinc150  as its authors split it, with requests that are out of scope
snips     every seventh record by digest of its text is held out
network   the IBN set: every fifth template is held out, with all that was made from it
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from clients.insight.intents.intent_book import intent_record, labelled
from clients.insight.intents.schema import Schema, Slots
from clients.insight.intents.schema_file import read_schema
from clients.prompts.book import text_of
from clients.prompts.json_lines import json_lines
from clients.prompts.record import PromptRecord
from fl.errors import SettingsError
from fl.settings import resolve
from fl.settings_intent import IntentStudySettings

FILES = {
    "clinc150": ("clinc150_train.jsonl", "clinc150_val.jsonl"),
    "snips": ("snips_train.jsonl",),
    "network": ("ibns_train.jsonl",),
}
SNIPS_HELDOUT, NETWORK_HELDOUT, CALIBRATION = 7, 5, 10  # one in so many


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """A text with its intent and slots."""

    text: str = field(repr=False)
    intent: str
    slots: Slots = field(repr=False)

    def record(self, schema: Schema) -> PromptRecord:
        """What the model learns of it."""
        return intent_record(schema, self.text, self.intent, self.slots)


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """Learned from `train`; thresholds are drawn from `calibration`; `heldout` is only judged."""

    schema: Schema
    train: tuple[Labelled, ...]
    calibration: tuple[Labelled, ...]
    heldout: tuple[Labelled, ...]


def read_set(name: str, its: IntentStudySettings) -> DataSet:
    """A whole set.

    Raises SettingsError where it is not there or too small for the study, BookError for a bad line.
    """
    schema = read_schema(
        resolve(f"configs/intents/{name}.yaml"), source=f"configs/intents/{name}.yaml"
    )
    pools: dict[str, list[Labelled]] = {"train": [], "calibration": [], "heldout": []}
    for file in FILES[name]:
        for where, entry in _lines(resolve(its.data) / file):
            text, intent, slots = labelled(entry, where, schema)
            found = Labelled(text=text, intent=intent, slots=slots)
            pools[_part(name, file, entry, text, where)].append(found)
    data = DataSet(
        schema=schema,
        train=tuple(_some(pools["train"], its.train_records)),
        calibration=tuple(_some(pools["calibration"], its.heldout_records)),
        heldout=tuple(_some(pools["heldout"], its.heldout_records)),
    )
    _check_enough(data, name, its)
    return data


def _check_enough(data: DataSet, name: str, its: IntentStudySettings) -> None:
    """Every arm needs something to choose between, and every part something in scope."""
    outside = data.schema.out_of_scope
    learned = {one.intent for one in data.train}
    parts = {"learned": data.train, "calibrated on": data.calibration, "held out": data.heldout}
    lacking = [
        f"none in scope is {part}"
        for part, records in parts.items()
        if all(one.intent == outside for one in records)
    ]
    if not lacking and len(learned) < 2:
        lacking = ["all that are learned have one intent"]
    if lacking:
        sizes = ", ".join(f"{len(records)} {part}" for part, records in parts.items())
        raise SettingsError(
            f"{', '.join(str(resolve(its.data) / file) for file in FILES[name])}: of the records "
            f"({sizes}) {' and '.join(lacking)}. Add records, raise intent.study.train_records and "
            f"heldout_records, or leave {name} out of intent.study.sets."
        )


def _part(name: str, file: str, entry: Mapping[str, Any], text: str, where: str) -> str:
    if name == "clinc150" and file.endswith("val.jsonl"):
        return "heldout"
    if name == "snips" and number_of(text) % SNIPS_HELDOUT == 0:
        return "heldout"
    if name == "network" and number_of(text_of(entry, "template", where)) % NETWORK_HELDOUT == 0:
        return "heldout"
    return "calibration" if number_of(f"calibrate {text}") % CALIBRATION == 0 else "train"


def number_of(text: str) -> int:
    """A number that only the text decides."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16)


def _some(found: Sequence[Labelled], most: int) -> Sequence[Labelled]:
    """All, or so many, chosen by their digests."""
    if not most or len(found) <= most:
        return found
    return sorted(found, key=lambda one: number_of(one.text))[:most]


def _lines(file: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(where it stands, the object) of each line."""
    if not file.is_file():
        raise SettingsError(
            f"{file} is missing. Let intent.study.data name the folder of the intents' data "
            "(clinc150_train.jsonl, ...), or leave the set out of intent.study.sets."
        )
    for number, entry in json_lines(file):
        yield f"{file}, line {number}", entry
