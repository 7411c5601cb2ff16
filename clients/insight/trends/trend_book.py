"""Books of trends: a line says HISTORY counts, what came after them, and when.

    {"history": [24 counts], "target": COUNT, "t": ISO 8601, "split": ...}          or
    {"history": [24 counts], "targets": [1 to 12 counts], "t": ISO 8601, "split": ...}

`t` is when the step of the last count of the history begins. `split` is as in every book.
"""

from collections.abc import Mapping, Sequence
from datetime import MAXYEAR, MINYEAR, datetime
from typing import Any

from clients.insight.trends.encoding import (
    HISTORY,
    MOST,
    NEXT,
    Known,
    Window,
    check_counts,
    letters_of,
    prompt_text,
    scale_of,
)
from clients.prompts.book import text_of
from clients.prompts.record import PromptRecord
from fl.errors import BookError
from fl.site import Site
from fl.tasks import TREND


def read_trend(entry: Mapping[str, Any], where: str, site: Site) -> PromptRecord | None:
    """The record of a line. Raises BookError, which quotes none of its counts."""
    return read_known(entry, where)[0]


def read_known(entry: Mapping[str, Any], where: str) -> tuple[PromptRecord, Known]:
    """The record of a line, and what it was made of. Raises BookError as read_trend does."""
    history = counts_under(entry, "history", where)
    if len(history) != HISTORY:
        raise BookError(f"{where}: 'history' has {len(history)} counts; it must have {HISTORY}.")
    if "targets" in entry:
        targets = counts_under(entry, "targets", where)
    else:
        targets = counts_under({"target": [entry.get("target")]}, "target", where)
    if not 1 <= len(targets) <= NEXT:
        raise BookError(f"{where}: 'targets' has {len(targets)} counts; it may have 1 to {NEXT}.")
    at = time_of(text_of(entry, "t", where), where)
    window = Window(history=tuple(history), at=at)
    return trend_record(history, targets, at), (window, tuple(targets))


def trend_record(history: Sequence[float], targets: Sequence[float], at: datetime) -> PromptRecord:
    """What the model learns of a window and the counts after it."""
    return PromptRecord(
        short=prompt_text(history, at),
        enriched=letters_of(targets, mean=scale_of(history)),
        card="",
        task=TREND,
    )


def counts_under(entry: Mapping[str, Any], key: str, where: str) -> list[float]:
    """The counts under a key. Raises BookError."""
    found = entry.get(key)
    are_numbers = isinstance(found, list) and all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in found
    )
    if not isinstance(found, list) or not found or not are_numbers:
        raise BookError(f"{where}: {key!r} must be given as numbers from 0 to {MOST:g}.")
    try:
        counts = [float(one) for one in found]
        check_counts(counts)
    except (ValueError, OverflowError):
        raise BookError(f"{where}: {key!r} must hold numbers from 0 to {MOST:g} alone.") from None
    return counts


def time_of(text: str, where: str) -> datetime:
    """A time as ISO 8601 says it. Raises BookError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise BookError(f"{where}: a time must be ISO 8601, as in 2026-03-31T14:00:00.") from None
    if not MINYEAR < found.year < MAXYEAR:  # a window reaches hours back and ahead
        raise BookError(f"{where}: a time must be in the years {MINYEAR + 1} to {MAXYEAR - 1}.")
    return found
