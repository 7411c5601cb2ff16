"""After a fault: releases that do not verify are hidden, and the aliases name good ones again."""

import errno
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from fl import durable
from fl.errors import ReleaseError
from fl.release import AdapterRelease
from server.release_aliases import Alias, Aliases

DAMAGED = re.compile(r"\.(\d+)\.damaged")  # the name of a folder that was set aside

Load = Callable[[int], AdapterRelease]  # verifies; raises ReleaseError


def set_aside_damaged(
    folder: Path, aliases: Aliases, numbers: Sequence[int], *, load: Load
) -> list[str]:
    """Do what Releases.set_aside_damaged says, while the aliases are held. Raises OSError too.

    Aliases move before folders do, so that a kill in between leaves a `current` that can be used.
    """
    if not numbers:
        return []
    damaged = _damaged(aliases, numbers, load)
    if len(damaged) == len(numbers):
        raise ReleaseError(
            f"None of the {len(numbers)} releases in {folder} verifies. Is it the right key? "
            f"The newest: {damaged[numbers[-1]]}"
        )
    good = [number for number in numbers if number not in damaged]
    said = [f"Release {number} was set aside: {why}" for number, why in damaged.items()]
    said += _repair_current(aliases, good)
    _repair_others(aliases, good)
    for number in damaged:
        (folder / str(number)).rename(folder / f".{number}.damaged")
    durable.sync_folder(folder)
    if _never_named(aliases, good[-1]):
        aliases.move("candidate", good[-1], why="published")
    return said


def _damaged(aliases: Aliases, numbers: Sequence[int], load: Load) -> dict[int, str]:
    """Why they do not verify: the newest ones down to the first good one, and the current."""
    found: dict[int, str] = {}
    for number in reversed(numbers):
        if (why := _damage(number, load)) is None:
            break
        found[number] = why
    current = aliases.read_if_good("current")
    if current is not None and current in numbers and current not in found:
        why = _damage(current, load)
        found |= {} if why is None else {current: why}
    return found


def _damage(number: int, load: Load) -> str | None:
    try:
        load(number)
    except ReleaseError as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno != errno.EIO:
            raise  # not allowed to read, too many open files: no word about the release
        return str(error)
    return None


def _repair_current(aliases: Aliases, good: Sequence[int]) -> list[str]:
    """Go back to what was current before; where that is lost too, to the release before."""
    current, previous = aliases.read_if_good("current"), aliases.read_if_good("previous")
    if current in good:
        return []
    older = [number for number in good if current is None or number < current]
    to = previous if previous is not None and previous in good else (older or good)[-1]
    found = "no release" if current is None else f"release {current}"
    said = f"The alias current named {found}; it names release {to} now."
    aliases.move("current", to, why=said)
    return [said]


def _repair_others(aliases: Aliases, good: Sequence[int]) -> None:
    """A candidate that is gone is none; previous names the newest good one before current."""
    current, why = aliases.read_if_good("current"), "the release it named is damaged"
    if _names_what_is_gone(aliases, "candidate", good):
        aliases.move("candidate", None, why=why)
    if _names_what_is_gone(aliases, "previous", good):
        older = [number for number in good if current is not None and number < current]
        aliases.move("previous", older[-1] if older else None, why=why)


def _names_what_is_gone(aliases: Aliases, alias: Alias, good: Sequence[int]) -> bool:
    try:
        named = aliases.read(alias)
    except ReleaseError:
        return True
    return named is not None and named not in good


def _never_named(aliases: Aliases, number: int) -> bool:
    """Was the cloud killed between publishing this release and making it the candidate?"""
    history = aliases.history()
    left = any(move.alias == "candidate" and move.before == number for move in history)
    used = any(move.alias == "current" and move.after == number for move in history)
    return not left and not used
