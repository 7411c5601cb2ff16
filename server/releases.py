"""Numbered, immutable releases on the cloud's disk, and the alias `current`.

    releases/3/adapter_config.json, adapter_model.safetensors    a PEFT folder, loadable anywhere
    releases/3/manifest.json                                     what it is; sha256 of both files
    releases/current                                             a text file: 3

Publishing writes a folder aside, the manifest last, fsyncs all of it, renames it, and moves the
alias last. A process killed anywhere in between leaves the old `current` and, at the most, a hidden
folder that nobody reads. Loading verifies everything the manifest says and refuses the rest.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from fl import adapter_file
from fl.adapter import Adapter, digest
from fl.errors import AdapterError, ReleaseError
from fl.release import AdapterRelease

MANIFEST = "manifest.json"
CURRENT = "current"
_SCHEMA = 1
_LIBRARIES = ("netgpt", "flwr", "numpy", "safetensors")


class Releases:
    """The releases of one federation."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def publish(
        self,
        adapter: Adapter,
        *,
        round_number: int,
        method: str,
        parent_digest: str,
        metrics: Mapping[str, float],
    ) -> AdapterRelease:
        """Write the next release and make it current.

        `metrics` are public numbers of the round. Raises ReleaseError when the disk refuses; the
        release before stays current then.
        """
        numbers = self._numbers()
        release = AdapterRelease(
            number=numbers[-1] + 1 if numbers else 0,
            shared=adapter,
            parent_digest=parent_digest,
            method=method,
            round_number=round_number,
            metrics=dict(metrics),
        )
        try:
            self._write(release)
            self.make_current(release.number)
        except OSError as error:
            shutil.rmtree(self._aside(release.number), ignore_errors=True)
            raise ReleaseError(
                f"Release {release.number} could not be written to {self._folder} "
                f"({error.strerror}); the release before stays current."
            ) from error
        return release

    def newest(self) -> AdapterRelease | None:
        """The release with the highest number, verified; None before release 0."""
        numbers = self._numbers()
        return self.load(numbers[-1]) if numbers else None

    def current(self) -> AdapterRelease:
        """The release the alias names, verified."""
        alias = self._folder / CURRENT
        try:
            text = alias.read_text().strip()
        except OSError:
            raise ReleaseError(
                f"{self._folder} has no current release: {CURRENT} is missing. "
                "Run ./run.sh simulate."
            ) from None
        if not text.isdecimal():
            raise ReleaseError(f"{alias} must hold a release number, found {text[:40]!r}.")
        return self.load(int(text))

    def make_current(self, number: int) -> None:
        """Move the alias; also the way back to an older release."""
        if number not in self._numbers():
            raise ReleaseError(f"There is no release {number} in {self._folder}.")
        aside = self._folder / f".{CURRENT}"
        with open(aside, "w") as stream:
            stream.write(f"{number}\n")
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(self._folder / CURRENT)
        _fsync_folder(self._folder)

    def load(self, number: int) -> AdapterRelease:
        """Read and verify a release; raise ReleaseError naming what differs."""
        folder = self._folder / str(number)
        manifest = _read_manifest(folder)
        _verify_files(folder, manifest)
        try:
            shared = adapter_file.read(folder)
        except AdapterError as error:
            raise ReleaseError(f"Release {number} cannot be used: {error}") from error
        found = {
            "schema": _SCHEMA,
            "number": number,
            "digest": digest(shared),
            "base_model_fingerprint": shared.spec.base_model_fingerprint,
            "rank": shared.spec.rank,
            "alpha": shared.spec.alpha,
        }
        for key, value in found.items():
            if manifest.get(key) != value:
                raise ReleaseError(
                    f"{folder / MANIFEST} says {key} = {manifest.get(key)!r}, found {value!r}. "
                    "Make an older release current, or remove this folder."
                )
        try:
            return AdapterRelease(
                number=number,
                shared=shared,
                parent_digest=str(manifest["parent_digest"]),
                method=str(manifest["method"]),
                round_number=int(manifest["round_number"]),
                metrics={str(k): float(v) for k, v in manifest["metrics"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ReleaseError(f"{folder / MANIFEST} is incomplete: {error!r}.") from None

    def _numbers(self) -> list[int]:
        """Numbers of the complete releases, rising. What lies aside has no plain number."""
        if not self._folder.is_dir():
            return []
        return sorted(
            int(entry.name)
            for entry in self._folder.iterdir()
            if entry.name.isdecimal() and entry.is_dir()
        )

    def _aside(self, number: int) -> Path:
        """Where a release is written before it gets its number."""
        return self._folder / f".{number}.partial"

    def _write(self, release: AdapterRelease) -> None:
        """Write aside, manifest last, fsync, rename."""
        self._folder.mkdir(parents=True, exist_ok=True)
        aside = self._aside(release.number)
        shutil.rmtree(aside, ignore_errors=True)  # left by a killed process
        aside.mkdir()
        adapter_file.write(aside, release.shared)
        for file in aside.iterdir():
            _fsync_file(file)
        manifest = _manifest(release, files={f.name: _sha256(f) for f in aside.iterdir()})
        (aside / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        _fsync_file(aside / MANIFEST)
        _fsync_folder(aside)
        aside.rename(self._folder / str(release.number))
        _fsync_folder(self._folder)


def _manifest(release: AdapterRelease, *, files: Mapping[str, str]) -> dict[str, Any]:
    spec = release.shared.spec
    return {
        "schema": _SCHEMA,
        "number": release.number,
        "files": dict(files),
        "digest": digest(release.shared),
        "parent_digest": release.parent_digest,
        "base_model_fingerprint": spec.base_model_fingerprint,
        "rank": spec.rank,
        "alpha": spec.alpha,
        "target_modules": list(spec.target_modules),
        "method": release.method,
        "round_number": release.round_number,
        "metrics": dict(release.metrics),
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _read_manifest(folder: Path) -> dict[str, Any]:
    file = folder / MANIFEST
    if not file.is_file():
        raise ReleaseError(f"{folder} is no complete release: {MANIFEST} is missing.")
    try:
        manifest = json.loads(file.read_text())
    except ValueError:
        raise ReleaseError(f"{file} is not JSON; the release is damaged.") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise ReleaseError(f"{file} names no files; the release is damaged.")
    return manifest


def _verify_files(folder: Path, manifest: Mapping[str, Any]) -> None:
    expected = manifest["files"]
    found = {file.name for file in folder.iterdir()} - {MANIFEST}
    if odd := sorted(found ^ set(expected)):
        raise ReleaseError(f"{folder} does not hold the files of its manifest: {', '.join(odd)}.")
    for name, sha256 in expected.items():
        if (actual := _sha256(folder / name)) != sha256:
            raise ReleaseError(
                f"{folder / name} has sha256 {actual[:12]}..., its manifest says "
                f"{str(sha256)[:12]}...: the file was damaged or exchanged."
            )


def _sha256(file: Path) -> str:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _fsync_file(file: Path) -> None:
    with open(file, "rb") as stream:
        os.fsync(stream.fileno())


def _fsync_folder(folder: Path) -> None:
    """Make names durable, not only contents."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
