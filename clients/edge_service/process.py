"""What the edge service is as a process: alone at its site, and ended by signals."""

import fcntl
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from fl.errors import FederationError

Result = TypeVar("Result")

LOCK_FILE = ".edge.lock"  # in the site's folder
_LOOK_EVERY_S = 0.1


@contextmanager
def alone_at(folder: Path) -> Iterator[None]:
    """Hold the site's lock, which dies with its process. Raises FederationError when it is held."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 20).decode(errors="replace").strip()
            raise FederationError(
                f"Another edge service (pid {holder}) serves {folder}. End it first."
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        os.close(descriptor)


@contextmanager
def set_by_signals(stop: threading.Event) -> Iterator[None]:
    """SIGTERM and SIGINT set `stop`; a second one ends the process at once."""
    numbers = (signal.SIGTERM, signal.SIGINT)

    def arrived(*_: object) -> None:
        stop.set()
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)

    before = [signal.signal(number, arrived) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def unless(stop: threading.Event, future: "Future[Result]") -> Result | None:
    """The future's result; None where `stop` is set before there is one."""
    while not stop.is_set():
        if wait([future], timeout=_LOOK_EVERY_S).done:
            return future.result()
    return None
