"""Quantities as people write them in requests to a network: "1Gbps", "10.40 KBit/s", "20 ms".

A small b and the word bit are bits, a capital B behind k, M or G is bytes ("MBps" is megabytes).
"""

import re
from dataclasses import dataclass

from fl.errors import ActionError

_NUMBER = re.compile(r"\s*(\d{1,12}(?:\.\d{1,9})?|\.\d{1,9})\s*([A-Za-z/%]*)\s*")
_SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
_RATE = re.compile(r"(kilo|mega|giga|[kKmMgGtT]?)(b|B|[bB]its?|[bB]ytes?)(?:ps|/s|/sec)")
_SECONDS = {"ms": 1e-3, "milliseconds": 1e-3, "s": 1.0, "sec": 1.0, "seconds": 1.0}
_AT_LEAST = ("", "at least", "minimum", "not less than", "no less than")
_AT_MOST = ("at most", "maximum", "not more than", "no more than", "up to")


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A number with its unit."""

    value: float
    unit: str  # bit/s | s | share
    assumed: bool = False  # nobody said the unit


def quantity(text: str, *, bare_unit: str) -> Quantity:
    """Read one. A bare number has `bare_unit`; "" refuses it. Raises ActionError."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ActionError('A quantity is a number with a unit, as in "1Gbps"; this one is not.')
    number, unit = float(found[1]), found[2]
    if number == 0:
        raise ActionError("A quantity of 0 reserves nothing; say more, or remove the flow.")
    if not unit:
        if not bare_unit:
            raise ActionError("A quantity says no unit, and acting.bare_unit gives none.")
        return Quantity(value=number * _bits(bare_unit), unit="bit/s", assumed=True)
    if unit == "%":
        if number > 100:
            raise ActionError(f"A share is at most 100 %, found {number:g} %.")
        return Quantity(value=number / 100, unit="share")
    if unit.lower() in _SECONDS:
        return Quantity(value=number * _SECONDS[unit.lower()], unit="s")
    return Quantity(value=number * _bits(unit), unit="bit/s")


def bound(operator: str) -> str:
    """at_least or at_most; a quantity without a word is the least. Raises ActionError."""
    words = " ".join(operator.lower().split())
    if words in _AT_LEAST:
        return "at_least"
    if words in _AT_MOST:
        return "at_most"
    raise ActionError('A bound is "at least" or "at most", or means the same; this one does not.')


def _bits(unit: str) -> float:
    """Bit/s of one of it. Raises ActionError."""
    found = _RATE.fullmatch(unit)
    if found is None:
        raise ActionError(
            'A unit is one of bits or bytes a second ("Mbps", "KB/s", "kilobits/s"), of seconds '
            '("ms"), or "%"; this one is none of them.'
        )
    prefix, kind = found[1][:1].lower(), found[2]
    is_bytes = kind == "B" or kind.lower().startswith("byte")
    return _SCALES[prefix] * (8 if is_bytes else 1)
