"""The ledger's file at a site: one line a request, added by whoever answered it."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from clients.ledger.entry import Entry, check_names, from_line, to_line
from fl.settings import Settings
from fl.site_list import site_folder

FILE = "ledger.jsonl"


def ledger_file(settings: Settings, site_id: str) -> Path:
    """Where a site's ledger lies; only the site reads it."""
    return site_folder(settings, site_id) / FILE


def record(file: Path, entry: Entry) -> None:
    """Add a line; it is on the disk when this returns. Several processes may do so at once.

    Raises OSError.
    """
    check_names(entry)
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # ends with the file
        end = stream.seek(0, os.SEEK_END)
        torn = end > 0 and _last_byte(file) != b"\n"  # by a killed process; it stays, by itself
        stream.write((b"\n" if torn else b"") + to_line(entry))
        stream.flush()
        os.fsync(stream.fileno())


def entries(file: Path) -> Iterator[Entry]:
    """All whole lines, oldest first; none where there is no ledger."""
    if not file.is_file():
        return
    with open(file, "rb") as lines:
        for line in lines:
            if (entry := from_line(line)) is not None:
                yield entry


def _last_byte(file: Path) -> bytes:
    with open(file, "rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1)
