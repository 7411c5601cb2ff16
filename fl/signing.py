"""Who made a release: the cloud signs every manifest with one Ed25519 key, sites hold its half.

    signing.key   private, PEM PKCS8, 0600, in the cloud's folder of keys and nowhere else
    signing.pub   public, PEM SubjectPublicKeyInfo; every site has a copy

The private key is made on first use. It appears under its name whole or not at all, by a hard link,
which fails where another process was faster: whoever came second reads the key of the first.
"""

import os
import stat
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from fl import durable
from fl.errors import ReleaseError
from fl.settings import Settings, resolve

SIGNING_KEY = "signing.key"
SIGNING_PUB = "signing.pub"
_MAX_KEY_BYTES = 16_384


def sign(manifest: bytes, key: Ed25519PrivateKey) -> bytes:
    """64 bytes that only the holder of `key` can make for these bytes."""
    return key.sign(manifest)


def check_signature(manifest: bytes, signature: bytes, key: Ed25519PublicKey) -> None:
    """Raise ReleaseError unless `signature` was made for exactly this manifest by this key."""
    try:
        key.verify(signature, manifest)
    except InvalidSignature:
        raise ReleaseError(
            "The signature does not belong to this manifest and the cloud's key: the release was "
            "damaged or altered, or another cloud made it, whose signing.pub is not the one here."
        ) from None


def signing_key(settings: Settings) -> Ed25519PrivateKey:
    """The cloud's key, made with its public half on first use. Raises ReleaseError."""
    return make_signing_key(settings.keys_dir)


def cloud_key(settings: Settings) -> Ed25519PublicKey:
    """The key a site checks releases with: from site.keys, or on the cloud's host from `keys`.

    Raises ReleaseError.
    """
    folder = resolve(settings.site.keys) if settings.site.keys else settings.keys_dir
    return read_cloud_key(folder / SIGNING_PUB)


def make_signing_key(keys_dir: Path) -> Ed25519PrivateKey:
    """Read the key in this folder; make what is missing of both files. Raises ReleaseError.

    A public half without its key is refused: a new key would make every release so far unreadable.
    """
    private_file, public_file = keys_dir / SIGNING_KEY, keys_dir / SIGNING_PUB
    try:
        # In this order: the public file is written last, so whoever sees it finds the key too.
        published = public_file.exists()
        if not private_file.exists():
            if published:
                raise ReleaseError(
                    f"{private_file} is missing, but {SIGNING_PUB} beside it is there. Restore the "
                    "key; or remove signing.pub to make another one, which no release so far "
                    "verifies with."
                )
            keys_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            made = Ed25519PrivateKey.generate()
            pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            _write_once(private_file, pem)
        key = read_signing_key(private_file)
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        if not published or public_file.read_bytes() != pem:
            durable.publish(public_file, pem)
    except OSError as error:
        raise ReleaseError(
            f"The key that signs releases cannot be made in {keys_dir} ({error.strerror}). "
            "Free the disk or correct the rights, or choose keys=FOLDER."
        ) from error
    return key


def read_signing_key(file: Path) -> Ed25519PrivateKey:
    """Read a private key that nobody but its owner can read. Raises ReleaseError."""
    data = _read(file, remedy="The cloud makes it with ./run.sh keys or its first release.")
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise ReleaseError(f"{file} can be read by others than its owner: chmod 600 {file}")
    try:
        key = load_pem_private_key(data, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ReleaseError(f"{file} is no Ed25519 private key in PEM. Restore it from your copy.")
    return key


def read_cloud_key(file: Path) -> Ed25519PublicKey:
    """Read the public half. Raises ReleaseError."""
    remedy = "./run.sh keys makes it at the cloud; a site's host gets it in its folder of keys."
    data = _read(file, remedy=remedy)
    try:
        key = load_pem_public_key(data)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ReleaseError(f"{file} is no Ed25519 public key in PEM. {remedy}")
    return key


def _read(file: Path, *, remedy: str) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise ReleaseError(f"{file} cannot be read ({error.strerror}). {remedy}") from None


def _write_once(file: Path, data: bytes) -> None:
    """Make the file with these bytes unless it is there, however it came there."""
    aside = durable.write_aside(file, data, mode=0o600)
    try:
        os.link(aside, file)
    except FileExistsError:
        pass  # another process was faster; its key counts
    finally:
        aside.unlink()
    durable.sync_folder(file.parent)
