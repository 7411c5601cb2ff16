"""The words of the verb `act` that are no settings, and the intents it is given."""

import difflib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fl.errors import ActionError, SettingsError

_OWN = ("intents", "apply", "yes", "confirm", "undo", "audit")
LARGEST = 1_000_000  # bytes of intents


@dataclass(frozen=True, kw_only=True)
class Words:
    """What is wanted; intents are a file's name, or "-" for what comes in."""

    intents: str = "-"
    apply: bool = False
    yes: bool = False
    confirm: str = ""
    undo: str = ""
    audit: bool = False


def split_words(arguments: Sequence[str]) -> tuple[Words, list[str]]:
    """The verb's own words, and the settings. Raises SettingsError."""
    own, settings = dict[str, str](), list[str]()
    for argument in arguments:
        key, sign, value = argument.partition("=")
        if sign and key in _OWN:
            own[key] = value
        elif sign:
            settings.append(argument)
        else:
            near = difflib.get_close_matches(argument, _OWN, n=1)
            hint = f"did you mean {near[0]}=...?" if near else f"its words are {', '.join(_OWN)}."
            raise SettingsError(f"`act` takes key=value; {hint}")
    return (
        Words(
            intents=own.get("intents", "-"),
            apply=_flag(own, "apply"),
            yes=_flag(own, "yes"),
            confirm=own.get("confirm", ""),
            undo=own.get("undo", ""),
            audit=_flag(own, "audit"),
        ),
        settings,
    )


def read_intents(name: str) -> object:
    """The JSON, or the lines of JSON, of a file, or of standard input for "-".

    Raises ActionError.
    """
    try:
        raw = sys.stdin.buffer.read(LARGEST + 1) if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ActionError(f"{name} cannot be read: {error.strerror}.") from None
    if len(raw) > LARGEST:
        raise ActionError(f"Intents are at most {LARGEST} bytes.")
    try:
        return _parsed(raw)
    except (ValueError, RecursionError):
        raise ActionError(
            'Expected the JSON that ./run.sh intent prints: {"intent": ..., "slots": ..., '
            '"confidence": ...}, one on each line, or a list of such.'
        ) from None


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except ValueError:
        lines = [json.loads(line) for line in raw.splitlines() if line.strip()]
        if not lines:
            raise
        return lines


def _flag(own: dict[str, str], key: str) -> bool:
    value = own.get(key, "false")
    if value not in ("true", "false"):
        raise SettingsError(f"{key} is true or false, found {value!r}.")
    return value == "true"
