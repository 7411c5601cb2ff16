"""A release as a folder, and as what travels; the cloud writes and reads it here, and so do sites.

    adapter_config.json adapter_model.safetensors   a PEFT folder, loadable anywhere
    manifest.json                                   what it is; sha256 of both files
    manifest.sig                                    the cloud's signature over the manifest's bytes

The manifest is the same, byte for byte, whenever the same release is made: it holds no time.
Nothing in it is believed, not even parsed, before its signature has been checked.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fl import adapter_file, durable
from fl.adapter import Adapter, digest
from fl.adapter_file import CONFIG_FILE, TENSOR_FILE, adapter_files
from fl.errors import AdapterError, ReleaseError
from fl.release import AdapterRelease
from fl.signing import check_signature, sign
from fl.tasks import COMPLETE

MANIFEST, SIGNATURE = "manifest.json", "manifest.sig"

_SCHEMA = 2  # 1 was not signed
_LIBRARIES = ("netgpt", "flwr", "numpy", "safetensors")
_MAX_MANIFEST_BYTES = 1 << 20
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class SentRelease:
    """A release as it arrives: nobody has looked at it yet."""

    manifest: bytes = field(repr=False)
    signature: bytes = field(repr=False)
    shared: Adapter

    def open(self, key: Ed25519PublicKey) -> AdapterRelease:
        """The release, if the cloud signed it. Raises ReleaseError."""
        return open_release(self.manifest, self.signature, self.shared, key)


def sign_release(
    shared: Adapter,
    *,
    federation: str,
    number: int,
    parent_digest: str,
    method: str,
    round_number: int,
    metrics: Mapping[str, float],
    key: Ed25519PrivateKey,
    task: str = COMPLETE,
) -> AdapterRelease:
    """Describe an adapter in a manifest and sign that. `metrics` are finite numbers.

    Raises ReleaseError for a bad metric.
    """
    numbers = {name: float(value) for name, value in metrics.items()}
    manifest = {
        **_description(shared),
        "schema": _SCHEMA,
        "task": task,
        "federation": federation,
        "number": number,
        "files": {name: _sha256(data) for name, data in adapter_files(shared).items()},
        "parent_digest": parent_digest,
        "method": method,
        "round_number": round_number,
        "metrics": numbers,
        "libraries": {name: metadata.version(name) for name in _LIBRARIES},
    }
    try:
        text = json.dumps(manifest, indent=2, sort_keys=True, allow_nan=False) + "\n"
    except ValueError:
        raise ReleaseError(
            f"A release's metrics must be finite numbers, found {numbers}."
        ) from None
    return AdapterRelease(
        federation=federation,
        number=number,
        shared=shared,
        parent_digest=parent_digest,
        method=method,
        round_number=round_number,
        metrics=numbers,
        manifest=text.encode(),
        signature=sign(text.encode(), key),
        task=task,
    )


def open_release(
    manifest: bytes, signature: bytes, shared: Adapter, key: Ed25519PublicKey
) -> AdapterRelease:
    """The release that this signed manifest describes, if that is exactly `shared`.

    Raises ReleaseError naming what differs.
    """
    described = _open_manifest(manifest, signature, key)
    for name, value in _description(shared).items():
        if described.get(name) != value:
            raise ReleaseError(
                f"The manifest says {name} = {_short(described.get(name))}, the adapter has "
                f"{_short(value)}: they do not belong together."
            )
    try:
        return AdapterRelease(
            federation=_of(str, described["federation"]),
            number=_of(int, described["number"]),
            shared=shared,
            parent_digest=_of(str, described["parent_digest"]),
            method=_of(str, described["method"]),
            round_number=_of(int, described["round_number"]),
            metrics={name: _of(float, n) for name, n in described["metrics"].items()},
            manifest=manifest,
            signature=signature,
            task=_of(str, described.get("task", COMPLETE)),  # older ones know no other
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ReleaseError(f"The manifest is signed, but incomplete: {error!r}.") from None


def write_release(folder: Path, release: AdapterRelease) -> None:
    """Write all four files into a new folder and fsync them; manifest, then signature last.

    Not atomic: a caller that publishes writes into a folder of its own and renames it. Raises
    OSError, and ReleaseError when these would not be the files of the manifest.
    """
    expected = _files_of(_parsed(release.manifest))
    files = adapter_files(release.shared)
    for name, data in files.items():
        if _sha256(data) != expected[name]:
            raise ReleaseError(
                f"Release {release.number}: {name} would not be the file its manifest names. The "
                "release was made by another version of this project."
            )
    folder.mkdir(parents=True)
    files |= {MANIFEST: release.manifest, SIGNATURE: release.signature}
    for name, data in files.items():
        durable.write(folder / name, data)
    durable.sync_folder(folder)


def read_release(folder: Path, key: Ed25519PublicKey) -> AdapterRelease:
    """Read a release folder: the files of its signed manifest, exactly. Raises ReleaseError."""
    try:
        manifest, signature = read_signed_manifest(folder)
        expected = _files_of(_open_manifest(manifest, signature, key))
        found = {file.name for file in folder.iterdir()} - {MANIFEST, SIGNATURE}
        if odd := sorted(found ^ set(expected)):
            raise ReleaseError(f"the files are not those of the manifest: {', '.join(odd)}.")
        for name, sha256 in expected.items():
            if (actual := _sha256_of(folder / name)) != sha256:
                raise ReleaseError(
                    f"{name} has sha256 {actual[:12]}..., the manifest says {sha256[:12]}...: the "
                    "file was damaged or exchanged."
                )
        return open_release(manifest, signature, adapter_file.read(folder), key)
    except OSError as error:
        raise ReleaseError(f"{folder} cannot be read: {error.strerror}.") from error
    except (ReleaseError, AdapterError) as error:
        raise ReleaseError(f"{folder}: {error}") from None


def read_signed_manifest(folder: Path) -> tuple[bytes, bytes]:
    """The bytes of manifest and signature, unchecked. Raises ReleaseError and OSError."""
    return _bounded(folder / MANIFEST, _MAX_MANIFEST_BYTES), _bounded(
        folder / SIGNATURE, _SIGNATURE_BYTES
    )


def _open_manifest(manifest: bytes, signature: bytes, key: Ed25519PublicKey) -> dict[str, Any]:
    """Check the signature, and only then read."""
    check_signature(manifest, signature, key)
    described = _parsed(manifest)
    if (schema := described.get("schema")) != _SCHEMA:
        raise ReleaseError(
            f"The manifest has schema {_short(schema)}, this version reads {_SCHEMA}: cloud and "
            "site must run the same version."
        )
    return described


def _parsed(manifest: bytes) -> dict[str, Any]:
    try:
        described = json.loads(manifest)
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict):
        raise ReleaseError("The manifest is no JSON object.")
    return described


def _files_of(described: Mapping[str, Any]) -> dict[str, str]:
    """sha256 by file name, of exactly the two adapter files."""
    files = described.get("files")
    if not isinstance(files, dict) or files.keys() != {CONFIG_FILE, TENSOR_FILE}:
        raise ReleaseError(f"The manifest must name {CONFIG_FILE} and {TENSOR_FILE}.")
    return {name: str(sha256) for name, sha256 in files.items()}


def _description(shared: Adapter) -> dict[str, Any]:
    """What a manifest says about the adapter itself. The digest covers every byte of it."""
    return {
        "base_model_fingerprint": shared.spec.base_model_fingerprint,
        "rank": shared.spec.rank,
        "alpha": shared.spec.alpha,
        "target_modules": list(shared.spec.target_modules),
        "fan_in_fan_out": shared.spec.fan_in_fan_out,
        "digest": digest(shared),
    }


def _bounded(file: Path, limit: int) -> bytes:
    if file.is_symlink() or not file.is_file():
        raise ReleaseError(f"{file.name} is missing, so this is no complete, signed release.")
    with open(file, "rb") as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise ReleaseError(f"{file.name} is larger than {limit} bytes.")
    return data


def _of(kind: type[Any], value: Any) -> Any:
    """`value` if it is of this type, a whole number counting as a float."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise TypeError(f"{_short(value)} is no {kind.__name__}")
    return kind(value)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _sha256_of(file: Path) -> str:
    if file.is_symlink() or not file.is_file():
        raise ReleaseError(f"{file.name} is no plain file.")
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _short(value: object) -> str:
    return repr(value)[:80]
