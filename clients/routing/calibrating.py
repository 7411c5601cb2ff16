"""Calibrating at a site, on the held-out part of its own book.

No cloud is asked: of its answers `routing.cloud_quality` is believed, unless somebody gives them.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

from clients.prompts.book import read_book
from clients.prompts.recall import names
from clients.prompts.record import PromptRecord
from clients.routing.calibration import (
    Calibration,
    fit,
    read_calibration,
    score_of,
    write_calibration,
)
from clients.writing import Written
from fl.errors import BookError
from fl.settings import Settings
from fl.site import Site
from fl.site_list import book_path, site_folder

FEWEST = 8  # records
FILE = "routing.json"

EnrichMany = Callable[[Sequence[PromptRecord]], Sequence[str]]  # -> enriched prompts
AnswerMany = Callable[[Sequence[str]], Sequence[Written]]  # enriched prompts -> own answers
AskMany = Callable[[Sequence[str]], Sequence[str]]  # enriched prompts -> the cloud's answers


def calibration_of(
    settings: Settings, site: Site, enrich: EnrichMany, answer: AnswerMany, *, base: str
) -> Calibration:
    """The site's calibration: as it lies in its folder, else drawn now and kept there.

    Raises BookError for a bad book, or one with too few held-out records with marks.
    """
    file = site_folder(settings, site.id) / FILE
    found = read_calibration(file, base=base)
    if found is None:
        heldout = read_book(book_path(settings, site), site=site).heldout
        found = calibrate(heldout, enrich, answer, base=base)
        write_calibration(file, found)
    return found


def calibrate(
    records: Sequence[PromptRecord],
    enrich: EnrichMany,
    answer: AnswerMany,
    *,
    base: str,
    ask: AskMany | None = None,
) -> Calibration:
    """Answer these held-out records here, with `ask` in the cloud too, and look for their marks.

    Raises BookError where too few of them have marks.
    """
    judged = [record for record in records if has_marks(record)]
    if len(judged) < FEWEST:
        raise BookError(
            f"mode=auto is calibrated on held-out records with marks: {FEWEST} at least, found "
            f"{len(judged)}. Add marks to the book, or choose another mode."
        )
    enriched = enrich(judged)
    written = answer(enriched)
    faithful = [
        is_faithful(w.text, prompt, record)
        for w, prompt, record in zip(written, enriched, judged, strict=True)
    ]
    whole = [
        names_all_marks(prompt, record) for prompt, record in zip(enriched, judged, strict=True)
    ]
    found = fit([score_of(w) for w in written], faithful, base=base)
    found = replace(found, enriched_whole=sum(whole) / len(whole))
    if ask is None:
        return found
    asked = zip(ask(enriched), enriched, judged, strict=True)
    said = [is_faithful(text, prompt, record) for text, prompt, record in asked]
    # as for the own answers, nobody is sure after a handful
    return replace(found, cloud_faithful=(sum(said) + 1) / (len(said) + 2))


def has_marks(record: PromptRecord) -> bool:
    """Can an answer to this be judged?"""
    return any(record.marks.values()) or bool(record.answer_marks)


def is_complete(answer: str, record: PromptRecord) -> bool:
    """Does the answer name every phrase that the enriched prompt and the answer should?"""
    return names_all_marks(answer, record) and _knows(answer, record)


def is_faithful(answer: str, enriched: str, record: PromptRecord) -> bool:
    """Does the answer name what the enriched prompt does, and what else an answer should?

    What enriching has missed no answer to it can name, the cloud's neither.
    """
    phrases = [phrase for kind in record.marks.values() for phrase in kind]
    said = [phrase for phrase in phrases if names(enriched, phrase)]
    return all(names(answer, phrase) for phrase in said) and _knows(answer, record)


def names_all_marks(text: str, record: PromptRecord) -> bool:
    """Does a text name every marked phrase?"""
    return all(names(text, phrase) for kind in record.marks.values() for phrase in kind)


def _knows(answer: str, record: PromptRecord) -> bool:
    return all(names(answer, phrase) for phrase in record.answer_marks)
