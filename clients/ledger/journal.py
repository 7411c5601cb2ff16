"""The ledger's file at a site: one line a request, added by whoever answered it."""

from collections.abc import Iterator
from pathlib import Path

from clients import line_file
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
    line_file.add(file, to_line(entry))


def entries(file: Path) -> Iterator[Entry]:
    """All whole lines, oldest first; none where there is no ledger."""
    for line in line_file.lines(file):
        if (entry := from_line(line)) is not None:
            yield entry
