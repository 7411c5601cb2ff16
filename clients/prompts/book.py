"""Reading a site's book: a JSONL file becomes checked records in a stable train/held-out split.

A line is an object with `prompt` and `completion`, and optionally
    context    the place card of that moment      (else `location`, else the site's place)
    split      train | val (also heldout, test)   (else by a digest of the prompt, 15 % held out)
    marks      {kind: [phrase, ...]}              phrases that recall is counted on
    answer_marks  [phrase, ...]                   the same, of the answer alone
    slots, slot_src                               as in sgd_sites; become marks of kind venue, site
    kind       only `confirm` and records without a kind are read

An error names the file, the line and the remedy, never the text of a record.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clients.prompts.json_lines import json_lines
from clients.prompts.record import PromptRecord
from fl.errors import BookError
from fl.site import Site

HELDOUT_SHARE = 0.15
HELDOUT_NAMES = ("val", "heldout", "test")


@dataclass(frozen=True, kw_only=True)
class Book:
    """A site's records. Training never sees the held-out part."""

    site: Site
    train: tuple[PromptRecord, ...]
    heldout: tuple[PromptRecord, ...]


@dataclass(frozen=True, kw_only=True)
class Reader:
    """What makes records of the lines of a task's book."""

    # A line's object, where it stands (for errors), whose book it is -> its record; None: not read.
    record: Callable[[Mapping[str, Any], str, Site], PromptRecord | None]
    keys: str  # that a line needs; said where there is no book
    command: str  # what writes a book


def read_completion(entry: Mapping[str, Any], where: str, site: Site) -> PromptRecord | None:
    """The record of a line that says how a short prompt was meant. Raises BookError."""
    if entry.get("kind", "confirm") != "confirm":
        return None
    prompt, wanted = text_of(entry, "prompt", where), text_of(entry, "completion", where)
    card = entry.get("context") or entry.get("location") or site.place
    if not isinstance(card, str):
        raise BookError(f"{where}: 'context' and 'location' must be texts.")
    return PromptRecord(
        short=prompt,
        enriched=wanted,
        card=card,
        marks=_marks(entry, where),
        answer_marks=_answer_marks(entry, where),
    )


COMPLETIONS = Reader(record=read_completion, keys="prompt and completion", command="./run.sh books")


def text_of(entry: Mapping[str, Any], key: str, where: str) -> str:
    """The text under a key that every line needs, stripped. Raises BookError."""
    if key not in entry:
        raise BookError(f"{where}: the key {key!r} is missing. Every record needs it.")
    found = entry[key]
    if not isinstance(found, str) or not found.strip():
        raise BookError(f"{where}: {key!r} must be a text that is not empty.")
    return found.strip()


def read_book(path: Path, *, site: Site, reader: Reader = COMPLETIONS) -> Book:
    """Read and check a whole book of a task. Raises BookError at the first bad line."""
    if not path.is_file():
        raise BookError(
            f"{path}: the book of site {site.id} does not exist. "
            f"Write one JSON object a line with {reader.keys}, or run {reader.command}."
        )
    split: dict[bool, list[tuple[str, PromptRecord]]] = {True: [], False: []}
    for number, entry in json_lines(path):
        if parsed := _parse(entry, f"{path}, line {number}", site, reader):
            heldout, digest, record = parsed
            split[heldout].append((digest, record))
    _need_both_parts(split, path)
    return Book(
        site=site,
        train=tuple(record for _, record in split[False]),
        heldout=tuple(record for _, record in split[True]),
    )


def _parse(
    entry: Mapping[str, Any], where: str, site: Site, reader: Reader
) -> tuple[bool, str, PromptRecord] | None:
    """One line -> (held out?, digest of its prompt, record); None for lines that are not read."""
    record = reader.record(entry, where, site)
    if record is None:
        return None
    try:
        "".join((record.short, record.enriched, record.card)).encode()
    except UnicodeEncodeError:
        raise BookError(f"{where}: half a surrogate pair (\\ud800-\\udfff). Remove it.") from None
    digest = hashlib.sha256(record.short.encode("utf-8", "surrogatepass")).hexdigest()
    return _is_heldout(entry.get("split"), digest, where), digest, record


def _is_heldout(name: object, digest: str, where: str) -> bool:
    if name is None:
        return int(digest[:8], 16) / 0xFFFFFFFF < HELDOUT_SHARE
    if name == "train":
        return False
    if name in HELDOUT_NAMES:
        return True
    raise BookError(f"{where}: 'split' is train, {', '.join(HELDOUT_NAMES)}, or absent.")


def _marks(entry: Mapping[str, Any], where: str) -> dict[str, tuple[str, ...]]:
    if "marks" in entry:
        marks = entry["marks"]
        if not isinstance(marks, dict) or not all(map(_are_texts, marks.values())):
            raise BookError(f"{where}: 'marks' must map a kind to a list of phrases.")
        return {kind: tuple(phrases) for kind, phrases in marks.items()}
    sources = entry.get("slot_src") or {}
    slots = entry.get("slots") or {}
    if not isinstance(slots, dict) or not isinstance(sources, dict):
        raise BookError(f"{where}: 'slots' and 'slot_src' must be objects.")
    return {
        kind: found
        for kind in ("venue", "site")
        if (found := tuple(str(v) for k, v in slots.items() if sources.get(k) == kind))
    }


def _answer_marks(entry: Mapping[str, Any], where: str) -> tuple[str, ...]:
    phrases = entry.get("answer_marks", [])
    if not _are_texts(phrases):
        raise BookError(f"{where}: 'answer_marks' must be a list of phrases.")
    return tuple(phrases)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _need_both_parts(split: dict[bool, list[tuple[str, PromptRecord]]], path: Path) -> None:
    """A book needs something to learn from and something to be judged on."""
    if sum(map(len, split.values())) < 2:
        raise BookError(
            f"{path}: {sum(map(len, split.values()))} record(s) found, at least 2 are needed: "
            "one to train on and one held out. Add records."
        )
    for part in (False, True):
        if not split[part]:  # move the record whose digest is lowest: stable, not random
            lowest = min(split[not part], key=lambda pair: pair[0])
            split[not part].remove(lowest)
            split[part].append(lowest)
