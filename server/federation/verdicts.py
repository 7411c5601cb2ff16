"""What the gate decided about candidates, on disk: verdicts.jsonl, one line a candidate.

The file is replaced whole, so that there is no torn line, and is durable before an alias moves: a
cloud that was killed in between finds the verdict and carries it out.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from fl import durable
from fl.errors import FederationError
from fl.release import Verdict

FILE = "verdicts.jsonl"  # in a federation's folder


class Verdicts:
    """The verdicts of one federation."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE

    def all(self) -> tuple[Verdict, ...]:
        """In the order in which they were reached. Raises FederationError for a damaged file."""
        return tuple(read_verdicts(self._file))

    def of(self, release_number: int) -> Verdict | None:
        """The verdict on a release; None while it has none."""
        found = [v for v in self.all() if v.release_number == release_number]
        return found[-1] if found else None

    def refused(self, release_number: int) -> bool:
        """Was this release kept back?"""
        verdict = self.of(release_number)
        return verdict is not None and not verdict.passed

    def keep(self, verdict: Verdict) -> None:
        """Add a verdict and make it durable. Raises FederationError when the disk refuses."""
        lines = [json.dumps(asdict(v)) + "\n" for v in (*self.all(), verdict)]
        aside = self._file.with_name(f".{FILE}")
        try:
            durable.write(aside, "".join(lines).encode())
            aside.replace(self._file)
            durable.sync_folder(self._file.parent)
        except OSError as error:
            raise FederationError(
                f"The verdict on release {verdict.release_number} could not be written to "
                f"{self._file} ({error.strerror}); it stays a candidate."
            ) from error


def read_verdicts(file: Path) -> Iterator[Verdict]:
    """The verdicts in a file; nothing where it is missing. Raises FederationError."""
    try:
        lines = file.read_text().splitlines()
    except FileNotFoundError:
        return
    for number, line in enumerate(lines, start=1):
        try:
            yield Verdict(**json.loads(line))
        except (ValueError, TypeError):
            raise FederationError(
                f"{file}, line {number}, is no verdict of this version. Remove the line: the "
                "release it was about then keeps the place its alias gives it."
            ) from None
