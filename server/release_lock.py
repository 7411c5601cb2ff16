"""One working cloud a federation: a lock on its releases that dies with its process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fl.errors import ReleaseError

LOCK = ".lock"


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Hold the releases in `folder` (made when missing) against any other working cloud.

    Alias moves do not ask for it, so a rollback works meanwhile. Raises ReleaseError when another
    process holds it, in no time.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ReleaseError(f"{folder / LOCK} cannot be opened ({error.strerror}).") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ReleaseError(
                f"Another cloud ({_holder(handle)}) works on {folder}. Wait until it has ended, or "
                "stop it; the lock ends with its process."
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)  # for people; the flock is what counts
        yield
    finally:
        os.close(handle)  # the file stays: removing it would let two processes hold two files


def _holder(handle: int) -> str:
    text = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
    return f"pid {text}" if text.isdecimal() else "pid unknown"
