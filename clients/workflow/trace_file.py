"""The traces of a site: a line a request, beside its ledger."""

from collections.abc import Iterator
from pathlib import Path

from clients import line_file
from clients.workflow.trace import Trace, from_line, to_line
from fl.settings import Settings
from fl.site_list import site_folder

FILE = "traces.jsonl"


def trace_file(settings: Settings, site_id: str) -> Path:
    """Where a site's traces lie; only the site reads them."""
    return site_folder(settings, site_id) / FILE


def keep(file: Path, trace: Trace) -> None:
    """Add a line; several processes may do so at once. Raises OSError."""
    line_file.add(file, to_line(trace))


def traces(file: Path) -> Iterator[Trace]:
    """All whole lines, oldest first; none where there is no file."""
    for line in line_file.lines(file):
        if (trace := from_line(line)) is not None:
            yield trace
