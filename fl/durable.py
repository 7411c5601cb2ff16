"""Bytes and names that are still there after a power cut. Raises OSError."""

import os
from pathlib import Path


def write(file: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it. Its name is not durable yet."""
    with open(file, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def sync_folder(folder: Path) -> None:
    """Wait until the disk has the names in a folder: what was made, renamed, removed there."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
