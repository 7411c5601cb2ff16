"""What one request did, step by step: times, outcomes, classes. Names and numbers, never a text."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, get_type_hints

from clients.workflow.privacy import CLASSES
from fl.errors import FederationError

OUTCOMES = ("ok", "fallback", "skipped", "refused", "late", "cancelled")
LONGEST_WORD = 128  # characters


@dataclass(frozen=True, kw_only=True)
class Span:
    """One step."""

    step: str  # its name in the workflow file
    privacy: str  # class of what it gives
    start_s: float  # seconds from the short prompt
    seconds: float
    outcome: str  # one of OUTCOMES; skipped: no step of this mode; late: past its deadline
    fallback: str  # the one that was taken; "" for none
    why: str  # gRPC status, or kind of error, of a failure


@dataclass(frozen=True, kw_only=True)
class Trace:
    """One request. `request_id` is that of its line in the ledger."""

    request_id: str
    site_id: str
    at: float  # seconds since 1970, UTC, at the end
    workflow: str  # digest of the file
    wanted: str  # the mode that was asked for
    mode: str  # the one that answered, or was on it
    outcome: str  # as in the ledger
    seconds: float  # from the short prompt
    steps: tuple[Span, ...]  # in the order they ended


def to_line(trace: Trace) -> bytes:
    """The trace as a line of JSON. Raises FederationError for one that could hold a text."""
    found = asdict(trace)
    for record in (found, *found["steps"]):
        for name, value in record.items():
            if isinstance(value, str) and (
                len(value) > LONGEST_WORD or any(c.isspace() for c in value)
            ):
                raise FederationError(
                    f"A trace's {name} is one word, found {len(value)} characters."
                )
    return json.dumps(found, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Trace | None:
    """The trace in a line; None for a torn or strange one: the file outlives versions."""
    try:
        found = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    if not isinstance(found, dict) or not isinstance(found.get("steps"), list):
        return None
    steps = found.pop("steps")
    if not (_is(Trace, found, but="steps") and all(_is(Span, step) for step in steps)):
        return None
    spans = tuple(Span(**step) for step in steps)
    if any(s.outcome not in OUTCOMES or s.privacy not in CLASSES for s in spans):
        return None
    return Trace(**found, steps=spans)


def _is(kind: type, found: object, *, but: str = "") -> bool:
    """Has it all fields of a kind, each of its type?"""
    types = get_type_hints(kind)
    wanted = {f.name: types[f.name] for f in fields(kind) if f.name != but}
    if not isinstance(found, dict) or found.keys() != wanted.keys():
        return False
    return all(_fits(wanted[name], value) for name, value in found.items())


def _fits(wanted: Any, value: object) -> bool:
    if wanted is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value)  # type: ignore[arg-type]
    return type(value) is wanted
