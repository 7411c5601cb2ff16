"""A site's shelf: releases as the cloud signed them, and personal parts, which never leave.

    <shelf>/release-<n>/               a whole release folder, verified whenever it is read
    <shelf>/current                    the number of the release that people are served with
    <shelf>/personal-<round>/          the personal part as that round left it   (PEFT folder)
    <shelf>/personal-<round>-settled/  the same, trained once more beside the last release
    <shelf>/feedback-<round>/          what rounding the round's update cost, for the next one

A round starts from what an earlier round left, so one that is repeated after a crash starts from
the same bytes. Everything appears whole or not at all.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from clients.atomic import publish_folder, publish_text, recover_all
from fl import adapter_file
from fl.adapter import Adapter
from fl.errors import ReleaseError
from fl.release import AdapterRelease
from fl.release_file import read_release, write_release
from fl.settings import Settings
from fl.signing import cloud_key
from fl.site_list import task_folder

KEPT_RELEASES = 2  # the newest, beside the one in use
KEPT_PERSONAL = 3  # parts up to the one just written

_CURRENT = "current"
_RELEASE = re.compile(r"release-(\d+)")
_PERSONAL = re.compile(r"personal-(\d+)(-settled)?")
_FEEDBACK = re.compile(r"feedback-(\d+)")

Entry = tuple[int, bool]  # (round, settled): sorts in the order in which parts come into being


class AdapterShelf:
    """Adapters of one site in one federation. `key` is the cloud's; nothing else is loaded.

    Safe to use from several threads and processes: each call has the folder to itself.
    """

    def __init__(self, folder: Path, key: Ed25519PublicKey) -> None:
        self.folder = folder
        self.key = key

    @property
    def federation(self) -> str:
        """Which federation this shelf is of."""
        return self.folder.name

    # --- releases ---

    def keep_release(self, release: AdapterRelease, *, beside: int | None = None) -> None:
        """Keep a verified release, the one in use, and the newest two.

        `beside` is one more number that is not dropped: the cloud's current release.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._alone():
            try:
                held = self._release(release.number)
            except ReleaseError:
                held = None  # damaged: it is replaced
            if held is None or held.manifest != release.manifest:
                folder = self.folder / f"release-{release.number}"
                publish_folder(folder, lambda aside: write_release(aside, release))
            self._drop_releases(but={release.number, beside})

    def release(self, number: int) -> AdapterRelease | None:
        """A kept release; None where it is not here. Raises ReleaseError where it is damaged."""
        with self._alone():
            return self._release(number)

    def current_number(self) -> int | None:
        """The number of the release in use; None before there is one."""
        file = self.folder / _CURRENT
        try:
            text = file.read_text(errors="replace").strip()
        except FileNotFoundError:
            return None
        if not text.isdecimal():
            raise ReleaseError(f"{file} must hold the number of a release. Remove the file.")
        return int(text)

    def current(self) -> AdapterRelease | None:
        """The release in use. Raises ReleaseError where it is damaged or gone."""
        with self._alone():
            number = self.current_number()
            if number is None:
                return None
            if (release := self._release(number)) is None:
                raise ReleaseError(f"{self.folder}: release {number} is in use, but is not here.")
            return release

    def use(self, number: int) -> None:
        """Serve people with this release from now on; it must be here."""
        with self._alone():
            if (number, False) not in self._folders(_RELEASE):
                raise ReleaseError(f"{self.folder} holds no release {number} that could be used.")
            publish_text(self.folder / _CURRENT, f"{number}\n")
            self._drop_releases(but={number})

    def use_none(self) -> None:
        """Serve nobody from this shelf."""
        (self.folder / _CURRENT).unlink(missing_ok=True)

    # --- personal parts ---

    def keep_personal(self, part: Adapter, *, round_number: int, settled: bool = False) -> None:
        """Keep what a round (or settling after it) made of the personal part.

        Three parts up to this one stay. Newer ones stay too: they are of a round that is being
        repeated, or that was answered before an older one.
        """
        self._keep(_PERSONAL, "personal", (round_number, settled), part)

    def personal(self) -> Adapter | None:
        """The newest personal part; None before the site's first round."""
        return self._newest(_PERSONAL, lambda entry: True)

    def personal_settled(self, round_number: int) -> Adapter | None:
        """The part that settled beside the release of exactly this round."""
        return self._newest(_PERSONAL, lambda entry: entry == (round_number, True))

    def personal_before(self, round_number: int) -> Adapter | None:
        """What a round starts from: the newest part of the rounds before it, settled or not."""
        return self._newest(_PERSONAL, lambda entry: entry < (round_number, False))

    def personal_after(self, round_number: int) -> Adapter | None:
        """What settling starts from: the newest part that rounds up to this one left, unsettled."""
        return self._newest(
            _PERSONAL, lambda entry: entry <= (round_number, False) and not entry[1]
        )

    # --- what rounding cost ---

    def keep_feedback(self, rest: Adapter, *, round_number: int) -> None:
        """Keep what the wire took from a round's update; the last three stay."""
        self._keep(_FEEDBACK, "feedback", (round_number, False), rest)

    def feedback_before(self, round_number: int, *, since: int) -> Adapter | None:
        """What is to be added to a round's update: of the newest round from `since` on."""
        return self._newest(
            _FEEDBACK, lambda entry: since <= entry[0] and entry < (round_number, False)
        )

    # --- the folder ---

    def _release(self, number: int) -> AdapterRelease | None:
        folder = self._folders(_RELEASE).get((number, False))
        return None if folder is None else read_release(folder, self.key)

    def _keep(self, kind: re.Pattern[str], name: str, entry: Entry, part: Adapter) -> None:
        """Three parts up to this one stay, and newer ones."""
        self.folder.mkdir(parents=True, exist_ok=True)
        folder = self.folder / f"{name}-{entry[0]}{'-settled' if entry[1] else ''}"
        with self._alone():
            publish_folder(folder, lambda aside: adapter_file.write(aside, part))
            parts = self._folders(kind)
            for older in sorted(found for found in parts if found <= entry)[:-KEPT_PERSONAL]:
                shutil.rmtree(parts[older], ignore_errors=True)

    def _newest(self, kind: re.Pattern[str], wanted: Callable[[Entry], bool]) -> Adapter | None:
        with self._alone():
            parts = self._folders(kind)
            found = max((entry for entry in parts if wanted(entry)), default=None)
            return None if found is None else adapter_file.read(parts[found])

    def _folders(self, names: re.Pattern[str]) -> dict[Entry, Path]:
        """Folders by number; interrupted replacements are finished or undone first."""
        if not self.folder.is_dir():
            return {}
        recover_all(self.folder)
        found = {}
        for path in self.folder.iterdir():
            if match := names.fullmatch(path.name):
                found[int(match[1]), match.lastindex == 2] = path
        return found

    def _drop_releases(self, *, but: set[int | None]) -> None:
        kept = self._folders(_RELEASE)
        newest = sorted(kept)[-KEPT_RELEASES:]
        try:
            used = self.current_number()
        except ReleaseError:
            used = None
        for entry, folder in kept.items():
            if entry not in newest and entry[0] not in {*but, used}:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else works in the folder meanwhile; a dead process has let go. Does not nest."""
        try:
            descriptor = os.open(self.folder, os.O_RDONLY)
        except FileNotFoundError:
            yield  # nothing is here yet, so there is nothing to read
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def open_shelf(settings: Settings, site_id: str, federation: str) -> AdapterShelf:
    """The shelf of a site in a federation ("001", "002", ...); it need not exist yet."""
    return AdapterShelf(_shelves(settings, site_id) / federation, cloud_key(settings))


def shelves_in_use(settings: Settings, site_id: str) -> list[AdapterShelf]:
    """Shelves with a release in use, the newest federation first; that one counts."""
    found = [f.parent for f in _shelves(settings, site_id).glob(f"[0-9]*/{_CURRENT}")]
    found.sort(key=lambda f: (len(f.name), f.name), reverse=True)
    return [open_shelf(settings, site_id, folder.name) for folder in found]


def newest_shelf(settings: Settings, site_id: str) -> AdapterShelf | None:
    """The shelf of the newest federation that has a release in use at this site, if any has."""
    return next(iter(shelves_in_use(settings, site_id)), None)


def _shelves(settings: Settings, site_id: str) -> Path:
    return task_folder(settings, site_id) / "shelf"
