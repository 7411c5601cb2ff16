"""The audit: a line for everything that was proposed, tried out, confirmed, refused, applied.

Each line holds the sha256 of the one before it, so a line that is changed or taken out is noticed;
audit.head holds how many there are and the last one's digest, so lines cut off the end are noticed
too. Who can write both files can write another history: keep a copy of the head elsewhere.

"applying" stands before the rules are written: a change that nothing says the end of has been
interrupted there. No text of a request is in it: ids, kinds of action, the rules that were set and
taken away.
"""

import fcntl
import hashlib
import json
import os
import pwd
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fl import durable
from fl.errors import ActionError
from fl.network.rules import Rule

FILE, HEAD = "audit.jsonl", "audit.head"
EVENTS = tuple("proposed dry_run confirmed refused applying failed applied undone".split())
_ADVICE = (
    f"Nothing is done meanwhile. Keep {FILE} and {HEAD} for whoever looks into that: move both to "
    "another folder, and the next action begins a new audit."
)
NOTHING = "0" * 64  # before the first line


@dataclass(frozen=True, kw_only=True)
class Line:
    """One."""

    number: int  # from 1
    at: str  # ISO 8601, UTC
    who: str  # the user of this machine
    event: str
    action: str  # its id; "" where none could be made
    kind: str
    reason: str  # of a refusal, one word
    rules: tuple[dict[str, Any], ...]
    before: str  # sha256 of the line before this one
    removed: tuple[dict[str, Any], ...] = ()
    effect: str = ""  # digest of what it does, to whom


class Audit:
    """One folder's. For several threads and processes."""

    def __init__(self, folder: Path) -> None:
        self._file, self._head = folder / FILE, folder / HEAD

    def add(
        self,
        event: str,
        *,
        action: str = "",
        kind: str = "",
        reason: str = "",
        rules: Sequence[Rule] = (),
        removed: Sequence[Rule] = (),
        effect: str = "",
    ) -> Line:
        """Add a line; it is on the disk when this returns.

        Raises ActionError where the audit has been tampered with, or the disk refuses: nothing is
        done unaudited.
        """
        assert event in EVENTS, event
        with self._alone():
            lines = self._checked()
            last = _digest(lines[-1]) if lines else NOTHING
            line = Line(
                number=len(lines) + 1,
                at=datetime.now(UTC).isoformat(timespec="milliseconds"),
                who=_who(),
                event=event,
                action=action,
                kind=kind,
                reason=reason,
                rules=tuple(asdict(rule) for rule in rules),
                before=last,
                removed=tuple(asdict(rule) for rule in removed),
                effect=effect,
            )
            raw = json.dumps(asdict(line), separators=(",", ":")).encode()
            with open(self._file, "ab") as stream:
                stream.write(raw + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            durable.publish(self._head, f"{line.number} {_digest(raw)}\n".encode(), mode=0o600)
            return line

    def lines(self) -> list[Line]:
        """All, oldest first.

        Raises ActionError where one was changed, taken out or cut off, or the disk refuses.
        """
        if not self._file.exists() and not self._head.exists():
            return []
        with self._alone():
            return [_line(raw, self._file) for raw in self._checked()]

    def was_shown(self, action: str, effect: str, within_s: float) -> bool:
        """Was this very effect what the action's last dry run showed, not longer ago than that?"""
        shown = [o for o in self.lines() if (o.event, o.action) == ("dry_run", action)]
        if not shown or shown[-1].effect != effect:
            return False
        return time.time() - datetime.fromisoformat(shown[-1].at).timestamp() <= within_s

    def kind_of(self, action: str) -> str:
        """The kind of an action that was applied; "" where none with that id was."""
        kinds = [o.kind for o in self.lines() if (o.event, o.action) == ("applied", action)]
        return kinds[-1] if kinds else ""

    def _checked(self) -> list[bytes]:
        *raws, torn = self._file.read_bytes().split(b"\n") if self._file.exists() else [b""]
        before = NOTHING
        for number, raw in enumerate(raws, start=1):
            line = _line(raw, self._file)
            if line.number != number or line.before != before:
                raise self._tampered(number)
            before = _digest(raw)
        head = self._head.read_text(errors="replace") if self._head.exists() else f"0 {NOTHING}"
        count, _, digest = head.strip().partition(" ")
        # A process that died between the line and the head leaves the head one behind.
        digests = {len(raws): before}
        if raws:
            digests[len(raws) - 1] = _line(raws[-1], self._file).before
        if not count.isdecimal() or digests.get(int(count)) != digest:
            raise self._tampered(len(raws) + 1)
        if torn:  # whoever wrote it died there; the head says that all before is whole
            with open(self._file, "r+b") as stream:
                stream.truncate(stream.seek(0, os.SEEK_END) - len(torn))
                os.fsync(stream.fileno())
        return raws

    def _tampered(self, number: int) -> ActionError:
        return ActionError(
            f"{self._file} has been changed, or cut, at line {number}: a digest does not fit. "
            f"{_ADVICE}"
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file.with_suffix(".lock"), "ab") as stream:
                fcntl.flock(stream, fcntl.LOCK_EX)  # ends with the file
                yield
        except OSError as error:
            raise ActionError(
                f"The audit {self._file} cannot be kept ({error.strerror}), and nothing is done "
                "unaudited. Make room, or give this user the right to write there."
            ) from None


def _line(raw: bytes, file: Path) -> Line:
    try:
        found = json.loads(raw)
        both = {key: tuple(found.get(key, ())) for key in ("rules", "removed")}
        return Line(**{**found, **both})
    except (ValueError, TypeError, AttributeError):
        raise ActionError(
            f"{file} holds a line that this program did not write. {_ADVICE}"
        ) from None


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _who() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
