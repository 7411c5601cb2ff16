"""The audit: a line for everything that was proposed, tried out, confirmed, refused, applied.

Each line holds the sha256 of the one before it, so a line that is changed or taken out is noticed;
audit.head holds how many there are and the last one's digest, so lines cut off the end are noticed
too. Who can write both files can write another history: keep a copy of the head elsewhere.

No text of a request is in it: ids, kinds of action, and the rules that were set.
"""

import fcntl
import hashlib
import json
import os
import pwd
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
EVENTS = ("proposed", "dry_run", "confirmed", "refused", "applied", "undone")
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
    ) -> Line:
        """Add a line; it is on the disk when this returns.

        Raises ActionError where the audit has been tampered with: nothing is done unaudited.
        """
        assert event in EVENTS, event
        self._file.parent.mkdir(parents=True, exist_ok=True)
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
            )
            raw = json.dumps(asdict(line), separators=(",", ":")).encode()
            with open(self._file, "ab") as stream:
                stream.write(raw + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
            durable.publish(self._head, f"{line.number} {_digest(raw)}\n".encode(), mode=0o600)
            return line

    def lines(self) -> list[Line]:
        """All, oldest first. Raises ActionError where one was changed, taken out or cut off."""
        if not self._file.exists() and not self._head.exists():
            return []
        with self._alone():
            return [_line(raw, self._file) for raw in self._checked()]

    def tried_at(self, action: str) -> float | None:
        """When it was tried out last, seconds since 1970, UTC; None where it never was."""
        found = [o.at for o in self.lines() if (o.event, o.action) == ("dry_run", action)]
        return datetime.fromisoformat(found[-1]).timestamp() if found else None

    def _checked(self) -> list[bytes]:
        raws = self._file.read_bytes().splitlines() if self._file.exists() else []
        before = NOTHING
        for number, raw in enumerate(raws, start=1):
            line = _line(raw, self._file)
            if line.number != number or line.before != before:
                raise self._tampered(number)
            before = _digest(raw)
        head = self._head.read_text() if self._head.exists() else f"0 {NOTHING}"
        count, _, digest = head.strip().partition(" ")
        # A process that died between the line and the head leaves the head one behind.
        digests = {len(raws): before}
        if raws:
            digests[len(raws) - 1] = _line(raws[-1], self._file).before
        if not count.isdecimal() or digests.get(int(count)) != digest:
            raise self._tampered(len(raws) + 1)
        return raws

    def _tampered(self, number: int) -> ActionError:
        return ActionError(
            f"{self._file} has been changed, or cut, at line {number}: a digest does not fit. Keep "
            "it for whoever looks into that, move it and its head away, and begin a new one."
        )

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self._file.with_suffix(".lock"), "ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # ends with the file
            yield


def _line(raw: bytes, file: Path) -> Line:
    try:
        found = json.loads(raw)
        return Line(**{**found, "rules": tuple(found["rules"])})
    except (ValueError, TypeError, KeyError):
        raise ActionError(f"{file} holds a line that this program did not write.") from None


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _who() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
