"""Follows what the cloud has made current: fetch, verify, shelve, swap; back too, on a rollback.

A release that does not verify is refused, said once, and tried again ever less often; the one in
use stays. So it does while the cloud is away.
"""

import re
import tempfile
import threading
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.adapter_shelf import AdapterShelf, open_shelf
from clients.edge_service.model_owner import ModelOwner
from clients.edge_service.serving import Say, Serving
from clients.insight.acting.prewarm import PutOff
from clients.learning.failure import keep_failure
from clients.release_channel import CurrentRelease, ReleaseChannel
from fl.errors import AdapterError, GenerationError, NetGPTError, ReleaseError
from fl.release import AdapterRelease
from fl.release_file import read_release
from fl.settings import Settings
from fl.signing import check_signature
from fl.site import Site
from fl.site_list import site_folder
from fl.tasks import COMPLETE

LONGEST_PAUSE_S = 60.0  # between two tries of a release that was refused

_AWAY = ("UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED")
_FEDERATION = re.compile(r"\d{3,9}")  # it becomes the name of a folder
_SLICE_S = 0.2  # of a pause, after which the end is noticed
_PROBE = "Request:"


class ReleaseWatch:
    """`look` once, or `run` until stopped."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        channel: ReleaseChannel,
        key: Ed25519PublicKey,
        serving: Serving,
        owner: ModelOwner,
        say: Say,
        put_off: PutOff | None = None,
    ) -> None:
        """`put_off` says whether a fetch waits for a crowd to pass."""
        self._settings, self._site, self._channel, self._key = settings, site, channel, key
        self._serving, self._owner, self._say = serving, owner, say
        self._put_off, self._nudged = put_off, threading.Event()
        self._folder = site_folder(settings, site.id)
        self._away = ""  # the status with which the cloud does not answer
        self._refused: CurrentRelease | None = None
        self._pause_s = 0.0
        self._again_at = 0.0

    def run(self, stop: threading.Event) -> None:
        """Look every edge.refresh_s seconds; the outermost loop of its thread."""
        while not stop.is_set():
            try:
                self.look()
            except Exception as error:  # noqa: BLE001 - a watch that ends would be noticed late
                if not stop.is_set():
                    keep_failure(self._folder, error)
                    self._say(f"looking for releases failed: {type(error).__name__}")
            self._pause(stop)

    def nudge(self) -> None:
        """Look at once: more requests are forecast, and they shall have the newest release."""
        self._nudged.set()

    def _pause(self, stop: threading.Event) -> None:
        """Until the next look."""
        until = time.monotonic() + self._settings.edge.refresh_s
        while not stop.is_set() and (left := until - time.monotonic()) > 0:
            if self._nudged.wait(min(left, _SLICE_S)):
                break
        self._nudged.clear()

    def look(self) -> None:
        """Ask once what is current, and follow."""
        # 1. What does the cloud say?
        try:
            offered = self._channel.current(self._site.id, task=self._settings.task)
        except GenerationError as error:
            self._note_away(error)
            return
        if self._away:
            self._say_of_cloud("cloud back")
            self._away = ""
        if offered is None or self._is_in_use(offered):
            self._refused = None
            return
        if offered == self._refused and time.monotonic() < self._again_at:
            return
        if self._put_off and self._serving.now() and self._put_off.waits(offered):
            return
        # 2. Get it, unless it is on the shelf; verify; try it; put it into use.
        try:
            shelf, release = self._obtain(offered)
            if not self._tried_out(shelf, release):
                return
            shelf.keep_release(release)
            self._serving.swap(shelf, release)
        except (ReleaseError, AdapterError, OSError) as error:
            self._refuse(offered, error)
        except GenerationError as error:
            if error.status in _AWAY:
                self._note_away(error)
            else:  # it does not give out what it has just named
                self._refuse(offered, error)
        else:
            self._refused = None

    def _is_in_use(self, offered: CurrentRelease) -> bool:
        now = self._serving.now()
        return now is not None and offered[:3] == (
            now.release.federation,
            now.release.number,
            now.release.manifest,  # a cloud that was made anew counts from 0 again
        )

    def _obtain(self, offered: CurrentRelease) -> tuple[AdapterShelf, AdapterRelease]:
        """The release, verified, from the shelf or from the cloud, and its shelf."""
        check_signature(offered.manifest, offered.signature, self._key)
        if not _FEDERATION.fullmatch(offered.federation):
            raise ReleaseError("The cloud names a federation that is no number.")
        shelf = open_shelf(self._settings, self._site.id, offered.federation)
        try:
            release = shelf.release(offered.number)
        except ReleaseError:
            release = None  # damaged here: fetched anew
        if release is None or release.manifest != offered.manifest:
            release = self._fetch(offered, shelf.folder.parent)
        found = (release.federation, release.number, release.manifest)
        if found != offered[:3] or release.task != self._settings.task:
            raise ReleaseError(
                f"The cloud said release {offered.federation}/{offered.number} of "
                f"task={self._settings.task}; the signed manifest is of "
                f"{release.federation}/{release.number} of task={release.task}."
            )
        return shelf, release

    def _fetch(self, offered: CurrentRelease, beside: Path) -> AdapterRelease:
        beside.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=beside) as folder:
            aside = Path(folder) / "release"
            self._channel.fetch(
                self._site.id,
                offered.federation,
                offered.number,
                aside,
                task=self._settings.task,
            )
            return read_release(aside, self._key)

    def _tried_out(self, shelf: AdapterShelf, release: AdapterRelease) -> bool:
        """Has the model written a token with it? Raises AdapterError where it does not fit."""
        adapter = self._serving.joined(shelf, release).adapter
        try:
            self._owner.write(lambda _: _PROBE, adapter, max_new_tokens=1).result()
        except GenerationError:
            return False  # too many prompts wait; the next look tries again
        return True

    def _refuse(self, offered: CurrentRelease, error: NetGPTError | OSError) -> None:
        if offered != self._refused:
            keep_failure(self._folder, error)
            named = _FEDERATION.fullmatch(offered.federation)  # it may be anything
            name = f"{offered.federation if named else '?'}/{offered.number}"
            self._say(f"release {name} refused: {type(error).__name__}; failure.txt says why")
            self._pause_s = self._settings.edge.refresh_s
        self._refused = offered
        self._again_at = time.monotonic() + self._pause_s
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _note_away(self, error: GenerationError) -> None:
        if error.status != self._away:
            self._say_of_cloud(f"cloud away ({error.status}): {error}")
            self._away = error.status

    def _say_of_cloud(self, text: str) -> None:
        """Once a service: the by-products' watches see the same cloud."""
        if self._settings.task == COMPLETE:
            self._say(text)
