"""Bytes and names that are still there after a power cut. Raises OSError."""

import os
import tempfile
from pathlib import Path


def write(file: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it. Its name is not durable yet."""
    with open(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_file(file: Path) -> None:
    """Wait until the disk has the bytes of a file that is written."""
    _sync(file)


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder: what was made, renamed, removed there."""
    _sync(folder)


def publish(file: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Make or replace a file so that a reader sees the old bytes or the new ones, never a part."""
    aside = write_aside(file, data, mode=mode)
    try:
        aside.replace(file)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)


def write_aside(file: Path, data: bytes, *, mode: int) -> Path:
    """Write the bytes of `file` under another name beside it, and wait until the disk has them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)  # made as 0600
    try:
        with open(handle, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fchmod(handle, mode)
            os.fsync(handle)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    return Path(name)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
