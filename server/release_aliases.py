"""The names that move: `current`, `previous` and `candidate`, each a text file with a number.

    current     what sites use           previous    what they used before, for a rollback
    candidate   made, not judged yet     history.jsonl   a line a move: alias, from, to, why, time

A move is prepared (the new file lies aside, on the disk), recorded, and then made by a rename,
which needs no room: where the disk is full nothing moves. A kill between record and rename leaves a
line about a move that was not made; making the move again makes no second line.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from fl import durable
from fl.errors import ReleaseError

Alias = Literal["current", "previous", "candidate"]
ALIASES: tuple[Alias, ...] = ("current", "previous", "candidate")
HISTORY = "history.jsonl"
_LOCK = ".aliases.lock"


@dataclass(frozen=True, kw_only=True)
class Move:
    """One line of the history; None stands for an alias that was not there."""

    alias: str
    before: int | None
    after: int | None
    why: str
    time: str  # UTC, ISO 8601


class Aliases:
    """The aliases of one folder of releases."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, alias: Alias) -> int | None:
        """The number an alias names, None where it is not there.

        Raises ReleaseError where the file holds no number, and OSError.
        """
        file = self._folder / alias
        try:
            text = file.read_text(errors="replace").strip()
        except FileNotFoundError:
            return None
        if not text.isdecimal():
            raise ReleaseError(
                f"{file} must hold a release number, found {text[:40]!r}. "
                "./run.sh releases rollback NUMBER sets it right."
            )
        return int(text)

    def read_if_good(self, alias: Alias) -> int | None:
        """As `read`, but None where the file holds no number."""
        try:
            return self.read(alias)
        except ReleaseError:
            return None

    def move(self, alias: Alias, number: int | None, *, why: str) -> None:
        """Let an alias name a release, or remove it. Call it inside `held`. Raises OSError."""
        before = self.read_if_good(alias)
        file, aside = self._folder / alias, self._folder / f".{alias}"
        if before == number and (number is not None or not file.exists()):
            return
        if number is not None:
            durable.write(aside, f"{number}\n".encode())
        self._record(alias, before, number, why=why)
        if number is not None:
            aside.replace(file)
        else:
            file.unlink(missing_ok=True)
        durable.sync_folder(self._folder)

    @contextmanager
    def held(self) -> Iterator[None]:
        """No other process moves an alias meanwhile; waits for one that does. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def history(self) -> tuple[Move, ...]:
        """All moves, oldest first; a line that a full disk tore is left out."""
        try:
            lines = (self._folder / HISTORY).read_text(errors="replace").splitlines()
        except FileNotFoundError:
            return ()
        moves = []
        for line in lines:
            try:
                found = json.loads(line)
                before, after = found.pop("from"), found.pop("to")
                moves.append(Move(before=before, after=after, **found))
            except (ValueError, TypeError, KeyError, AttributeError):
                continue
        return tuple(moves)

    def _record(self, alias: Alias, before: int | None, after: int | None, *, why: str) -> None:
        """Append a line, unless the last one about this alias says the same."""
        last = next((move for move in reversed(self.history()) if move.alias == alias), None)
        if last is not None and (last.before, last.after) == (before, after):
            return
        time = datetime.now(UTC).isoformat(timespec="seconds")
        move = Move(alias=alias, before=before, after=after, why=why, time=time)
        line = {**asdict(move), "from": before, "to": after}
        del line["before"], line["after"]
        with open(self._folder / HISTORY, "ab+") as stream:
            torn = stream.tell() > 0
            if torn:
                stream.seek(-1, os.SEEK_END)
                torn = stream.read(1) != b"\n"
            stream.write((b"\n" if torn else b"") + json.dumps(line).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())
