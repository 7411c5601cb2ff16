"""A file of lines that several processes add to; a line is there whole, or by itself."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


def add(file: Path, line: bytes) -> None:
    """Add a line, its end included; it is on the disk when this returns. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with open(file, "ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)  # ends with the file
        end = stream.seek(0, os.SEEK_END)
        torn = end > 0 and _last_byte(file) != b"\n"  # by a killed process; it stays, by itself
        stream.write((b"\n" if torn else b"") + line)
        stream.flush()
        os.fsync(stream.fileno())


def lines(file: Path) -> Iterator[bytes]:
    """All lines, oldest first; none where there is no file."""
    if not file.is_file():
        return
    with open(file, "rb") as stream:
        yield from stream


def _last_byte(file: Path) -> bytes:
    with open(file, "rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1)
