"""Numbered, immutable, signed releases on the cloud's disk.

    releases/3/                              a release folder, see fl.release_file
    releases/current previous candidate      see server.release_aliases
    releases/.3.damaged                      what was set aside because it did not verify

Publishing writes a folder aside, the signature last, fsyncs all of it, renames it, and moves an
alias last. A process killed anywhere in between leaves `current` as it was and, at the most, a
hidden folder that nobody reads. Loading verifies signature and every file, or refuses.
"""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fl import durable
from fl.adapter import Adapter
from fl.errors import ReleaseError
from fl.release import AdapterRelease
from fl.release_file import read_release, sign_release, write_release
from fl.tasks import COMPLETE
from server.release_aliases import Alias, Aliases
from server.release_lock import lock
from server.release_repair import DAMAGED, set_aside_damaged

__all__ = ["Releases", "lock"]


class Releases:
    """The releases of one federation. Publishing takes the cloud's key, reading its public half."""

    def __init__(
        self,
        folder: Path,
        *,
        federation: str,
        key: Ed25519PrivateKey | None = None,
        cloud_key: Ed25519PublicKey | None = None,
        task: str = COMPLETE,
    ) -> None:
        self.folder = folder
        self.aliases = Aliases(folder)
        self._federation, self._task = federation, task
        self._key = key
        self._cloud_key = key.public_key() if cloud_key is None and key is not None else cloud_key

    # --- reading ---

    def numbers(self) -> list[int]:
        """Numbers of the complete releases, rising. What lies aside has no plain number."""
        if not self.folder.is_dir():
            return []
        return sorted(
            int(entry.name)
            for entry in self.folder.iterdir()
            if entry.name.isdecimal() and entry.is_dir()
        )

    def next_number(self) -> int:
        """What the next release will be called.

        A damaged release's number is not given again: a site may have the good one.
        """
        used = self.numbers()
        if self.folder.is_dir():
            asides = (DAMAGED.fullmatch(entry.name) for entry in self.folder.iterdir())
            used += [int(match[1]) for match in asides if match]
        return max(used, default=-1) + 1

    def load(self, number: int) -> AdapterRelease:
        """Read and verify a release; raise ReleaseError naming what differs."""
        assert self._cloud_key is not None, "no key to verify releases with"
        folder = self.folder / str(number)
        if not folder.is_dir():
            there = ", ".join(map(str, self.numbers())) or "none"
            raise ReleaseError(f"There is no release {number} in {self.folder}; there is: {there}.")
        release = read_release(folder, self._cloud_key)
        found = (release.task, release.federation, release.number)
        if found != (self._task, self._federation, number):
            raise ReleaseError(
                f"{folder}: its manifest says release {release.number} of federation "
                f"{release.federation} of task={release.task}, expected release {number} of "
                f"federation {self._federation} of task={self._task}: the folder was exchanged."
            )
        return release

    def newest(self) -> AdapterRelease | None:
        """The release with the highest number, verified; None before release 0."""
        numbers = self.numbers()
        return self.load(numbers[-1]) if numbers else None

    def current(self) -> AdapterRelease:
        """The release that sites use, verified. Raises ReleaseError where there is none."""
        number = self.current_number()
        if number is None:
            raise ReleaseError(
                f"{self.folder} has no current release. Run ./run.sh simulate or ./run.sh federate."
            )
        return self.load(number)

    def candidate(self) -> AdapterRelease | None:
        """The release that waits for its verdict, verified."""
        number = self._read("candidate")
        return None if number is None else self.load(number)

    def current_number(self) -> int | None:
        """What `current` names, unverified; None before release 0."""
        return self._read("current")

    def previous_number(self) -> int | None:
        """What was current before; None where nothing was."""
        return self._read("previous")

    # --- publishing ---

    def publish(
        self,
        adapter: Adapter,
        *,
        round_number: int,
        method: str,
        parent_digest: str,
        metrics: Mapping[str, float],
    ) -> AdapterRelease:
        """Write the next release, a candidate; release 0 becomes current at once.

        `metrics` are public, finite numbers of the round. Raises ReleaseError when the disk
        refuses; then nothing has changed.
        """
        assert self._key is not None, "no key to sign releases with"
        number = self.next_number()
        aside, folder = self.folder / f".{number}.partial", self.folder / str(number)
        alias: Alias = "candidate" if number else "current"
        placed = False
        try:
            release = sign_release(
                adapter,
                federation=self._federation,
                number=number,
                parent_digest=parent_digest,
                method=method,
                round_number=round_number,
                metrics=metrics,
                key=self._key,
                task=self._task,
            )
            shutil.rmtree(aside, ignore_errors=True)  # left by a killed process
            write_release(aside, release)
            with self.aliases.held():
                aside.rename(folder)
                placed = True
                durable.sync_folder(self.folder)
                self.aliases.move(alias, number, why="published")
        except OSError as error:
            if placed:
                with suppress(OSError):  # the disk may refuse that too
                    folder.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            raise ReleaseError(
                f"Release {number} could not be written to {self.folder} ({error.strerror}); "
                f"{self._unchanged()}."
            ) from error
        return release

    # --- moving the aliases ---

    def promote(self, number: int, *, why: str) -> None:
        """Make a candidate current; what was current becomes previous.

        Raises ReleaseError when the release does not verify or the disk refuses.
        """
        self.load(number)
        with self._moving():
            current = self._read("current")
            if current != number:  # else a killed process got so far: previous is right already
                if current is not None:
                    self.aliases.move("previous", current, why=why)
                self.aliases.move("current", number, why=why)
            if self._read("candidate") == number:
                self.aliases.move("candidate", None, why=why)

    def reject(self, number: int, *, why: str) -> None:
        """Let the candidate be one no longer; its folder stays. Raises ReleaseError."""
        with self._moving():
            if self._read("candidate") == number:
                self.aliases.move("candidate", None, why=why)

    def rollback(self, number: int | None, *, why: str) -> AdapterRelease:
        """Make `previous`, or any older release, current; return it, verified.

        `previous` itself stays, so doing it twice goes back once. Raises ReleaseError.
        """
        target = self.previous_number() if number is None else number
        if target is None:
            raise ReleaseError(
                f"{self.folder} has no previous release to go back to. Name one: "
                "./run.sh releases rollback NUMBER."
            )
        release = self.load(target)
        with self._moving():
            self.aliases.move("current", target, why=why)
        return release

    # --- after a fault ---

    def set_aside_damaged(self) -> list[str]:
        """Hide the newest releases that do not verify, and make the aliases name good ones.

        A release whose cloud was killed before an alias named it becomes the candidate. Returns a
        sentence for each thing that was wrong. Raises ReleaseError when no release at all verifies:
        then the key or the disk is wrong, not a release.
        """
        with self._moving():
            return set_aside_damaged(self.folder, self.aliases, self.numbers(), load=self.load)

    # --- small ---

    def _read(self, alias: Alias) -> int | None:
        try:
            return self.aliases.read(alias)
        except OSError as error:
            raise ReleaseError(
                f"{self.folder / alias} cannot be read ({error.strerror})."
            ) from error

    @contextmanager
    def _moving(self) -> Iterator[None]:
        """Hold the aliases; a disk that refuses is a ReleaseError."""
        try:
            with self.aliases.held():
                yield
        except OSError as error:
            raise ReleaseError(
                f"The aliases in {self.folder} cannot be moved ({error.strerror}); "
                f"{self._unchanged()}."
            ) from error

    def _unchanged(self) -> str:
        current = self.aliases.read_if_good("current")
        return f"release {current} stays current" if current is not None else "none is current"
