"""Follows the alias `current` of the cloud's own adapter: verify, swap; back too, on a rollback.

A release that does not verify, or was made for another base, is refused and said once; what answers
stays. It is looked at again when something about it changes on the disk.
"""

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from fl.adapter_file import CONFIG_FILE, TENSOR_FILE
from fl.errors import NetGPTError, ReleaseError
from fl.release import AdapterRelease
from fl.release_file import MANIFEST, SIGNATURE
from fl.settings import Settings
from server.tuning.store import check_base, cloud_releases, current_number, releases_folder

LOOK_EVERY_S = 0.5

Swap = Callable[[AdapterRelease | None], None]  # None: the base alone
Say = Callable[[str], None]

_log = logging.getLogger(__name__)
_Stamp = tuple[tuple[int, int, int] | None, ...]


def current_release(settings: Settings) -> AdapterRelease | None:
    """What to answer with at the start: the current release, verified; None for the base alone.

    A release of another base is left out with a warning: the model is the one that the settings
    name. Raises ReleaseError where there is a current release and it does not verify.
    """
    if current_number(settings) is None:
        return None
    try:
        release = cloud_releases(settings).current()
    except ReleaseError as error:
        raise ReleaseError(
            f"The cloud's adapter cannot be used: {error} ./run.sh releases rollback --federation "
            "cloud goes back to the one before."
        ) from error
    try:
        check_base(settings, release)
    except ReleaseError as error:
        _log.warning("%s The base alone answers.", error)
        return None
    return release


class CloudReleaseWatch:
    """Calls `swap` with what is current whenever that changes; `look` once, or `start` a thread."""

    def __init__(
        self,
        settings: Settings,
        swap: Swap,
        say: Say,
        *,
        running: AdapterRelease | None = None,
    ) -> None:
        """`running` is what answers now. `swap` may take long; a NetGPTError of it is a refusal."""
        self._settings, self._swap, self._say = settings, swap, say
        self._running = running
        self._seen: _Stamp | None = None
        self._refusal = ""  # the last that was said
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cloud releases", daemon=True)

    def start(self) -> None:
        """Look every LOOK_EVERY_S seconds, on a thread of its own, until `close`."""
        self._thread.start()

    def close(self) -> None:
        """Stop looking; returns when a swap that is under way has ended. Safe to repeat."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def look(self) -> None:
        """Look once: a few file times, and only where one has changed at the release itself."""
        stamp = _stamp(releases_folder(self._settings))
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            release = self._current()
            if _manifest(release) != _manifest(self._running):
                self._swap(release)
                self._running = release
            self._refusal = ""
        except NetGPTError as error:
            if isinstance(error.__cause__, OSError):
                self._seen = None  # no word about the release: the next look tries again
            self._refuse(f"{error}")

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a watch that ends would be noticed late
                self._refuse(f"looking failed with {type(error).__name__}.")
            self._stop.wait(LOOK_EVERY_S)

    def _current(self) -> AdapterRelease | None:
        """What should answer, verified. Raises ReleaseError and BaseModelError."""
        if current_number(self._settings) is None:
            return None
        release = cloud_releases(self._settings).current()
        check_base(self._settings, release)
        return release

    def _refuse(self, why: str) -> None:
        if why != self._refusal:
            self._say(
                f"the cloud's current release is refused, {_name(self._running)} stays: {why}"
            )
            self._refusal = why


def _stamp(folder: Path) -> _Stamp:
    """Changes with the alias, and with any file of the release it names. Costs five file times."""
    alias = folder / "current"
    try:
        number = alias.read_text(errors="replace").strip()
    except OSError:
        number = ""
    names = (CONFIG_FILE, TENSOR_FILE, MANIFEST, SIGNATURE) if number.isdecimal() else ()
    return tuple(_file_stamp(file) for file in (alias, *(folder / number / n for n in names)))


def _file_stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _manifest(release: AdapterRelease | None) -> bytes:
    """What tells releases apart; a number is given again where the folder was made anew."""
    return b"" if release is None else release.manifest


def _name(release: AdapterRelease | None) -> str:
    return "the base model" if release is None else f"{release.federation}/{release.number}"
