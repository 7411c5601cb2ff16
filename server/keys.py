"""The cloud's keys and certificates, and the bundle of keys that a site's host gets.

    keys/ca.key ca.crt               the federation's own authority; ca.key never leaves the cloud
    keys/server.key server.crt       who the cloud is, for its service and its fleet gate
    keys/signing.key signing.pub     signs releases
    keys/sites/<id>/                 the bundle; copy it whole to the site's host:
        site.key site.crt            who the site is, for the cloud's service
        site.ssh site.pub            the same key as Flower wants it; site.pub is registered
        ca.crt signing.pub           whom the site trusts

What is there and good is left as it is, to the byte. Keys are kept when a certificate is issued
again, so what was handed out stays valid. Two processes may do this at the same time.
"""

import fcntl
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
)

from fl import durable
from fl.errors import SettingsError
from fl.signing import SIGNING_PUB, make_signing_key
from fl.site import SITE_NAME
from fl.wire.credentials import CA_CRT, SERVER_CRT, SERVER_KEY, SITE_CRT, SITE_KEY
from server import certificates

CA_KEY = "ca.key"
SITES = "sites"
SITE_SSH = "site.ssh"
SITE_PUB = "site.pub"
ALWAYS = ("localhost", "127.0.0.1", "::1")  # hosts of every server certificate


def make_cloud_keys(keys_dir: Path, *, hosts: Sequence[str] = ()) -> None:
    """Make what is missing or expires within a week: authority, server certificate, signing key.

    `hosts` are names and IP addresses by which sites dial; those of an older certificate stay.
    Raises SettingsError.
    """
    with _held(keys_dir):
        ca, ca_key = _authority(keys_dir, make=True)
        key = _key(keys_dir / SERVER_KEY)
        found = _certificate(keys_dir / SERVER_CRT)
        ours = found is not None and certificates.is_good(found, key, ca)
        known = certificates.hosts_of(found) if found is not None else []
        wanted = list(dict.fromkeys([*ALWAYS, *known, *hosts]))
        if not ours or set(wanted) != set(known):
            issued = certificates.server_certificate(ca, ca_key, key, _checked(wanted))
            _write(keys_dir / SERVER_CRT, issued.public_bytes(Encoding.PEM))
        make_signing_key(keys_dir)


def make_site_keys(keys_dir: Path, site_id: str) -> Path:
    """Make what is missing in a site's bundle; return its folder. Needs the cloud's keys.

    Raises SettingsError.
    """
    if SITE_NAME.fullmatch(site_id) is None:
        raise SettingsError(
            "A site's id is 1-64 of a-z, 0-9, '_' and '-', not starting with a sign; "
            f"found {site_id!r}."
        )
    with _held(keys_dir):
        ca, ca_key = _authority(keys_dir, make=False)
        bundle = keys_dir / SITES / site_id
        _private_folder(keys_dir / SITES)
        _private_folder(bundle)
        key = _key(bundle / SITE_KEY)
        found = _certificate(bundle / SITE_CRT)
        if found is None or not certificates.is_good(found, key, ca):
            issued = certificates.site_certificate(ca, ca_key, key, site_id)
            _write(bundle / SITE_CRT, issued.public_bytes(Encoding.PEM))
        _write_for_flower(bundle, key)
        for name in (CA_CRT, SIGNING_PUB):
            _write(bundle / name, (keys_dir / name).read_bytes())
    return bundle


def _authority(keys_dir: Path, *, make: bool) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    has_key, has_certificate = ((keys_dir / name).exists() for name in (CA_KEY, CA_CRT))
    if not has_key and (has_certificate or not make):
        raise SettingsError(
            f"{keys_dir} has no {CA_KEY}, so no certificate can be issued. Restore it, or remove "
            f"what is there; make new keys with ./run.sh keys, and give every site its new bundle."
        )
    key = _key(keys_dir / CA_KEY)
    certificate = _certificate(keys_dir / CA_CRT)
    if certificate is None or not certificates.is_good(certificate, key, certificate):
        # The name and the key stay, so certificates issued before still hold.
        certificate = certificates.authority(key)
        _write(keys_dir / CA_CRT, certificate.public_bytes(Encoding.PEM))
    return certificate, key


def _key(file: Path) -> EllipticCurvePrivateKey:
    """Read a private key, made on first use."""
    if not file.exists():
        made = certificates.new_key()
        pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(file, pem, mode=0o600)
        return made
    if stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise SettingsError(f"{file} can be read by others than its owner: chmod 600 {file}")
    try:
        key = load_pem_private_key(file.read_bytes(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP384R1):
        raise SettingsError(
            f"{file} is no private key of curve P-384 in PEM. Restore it, or remove it and "
            "everything beside it to start anew."
        )
    return key


def _certificate(file: Path) -> x509.Certificate | None:
    """Read a certificate; None where there is none that can be read."""
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()) if file.exists() else None
    except ValueError:
        return None


def _write_for_flower(bundle: Path, key: EllipticCurvePrivateKey) -> None:
    """The SuperNode reads OpenSSH's private format, registration OpenSSH's public one."""
    private_file = bundle / SITE_SSH
    try:
        found = load_ssh_private_key(private_file.read_bytes(), password=None)
    except (FileNotFoundError, ValueError):
        found = None
    # The format holds a random number, so the same key twice differs in its bytes.
    if found is None or found.public_key() != key.public_key():
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        _write(private_file, private, mode=0o600)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    _write(bundle / SITE_PUB, public + b"\n")


def _checked(hosts: Sequence[str]) -> Sequence[str]:
    if wrong := [host for host in hosts if not certificates.is_host(host)]:
        raise SettingsError(
            f"A host is a name or an IP address, without a port; found {', '.join(wrong)}."
        )
    return hosts


@contextmanager
def _held(keys_dir: Path) -> Iterator[None]:
    """One process at a time, or two would make two authorities."""
    try:
        _private_folder(keys_dir)
        with open(keys_dir / ".lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise SettingsError(
            f"The keys in {keys_dir} cannot be read or written: {error.strerror} "
            f"({error.filename}). Free the disk or correct the rights, or choose keys=FOLDER."
        ) from None


def _private_folder(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if stat.S_IMODE(folder.stat().st_mode) & 0o022:
        raise SettingsError(
            f"{folder} can be written by others than its owner, who could exchange its keys: "
            f"chmod 700 {folder}"
        )


def _write(file: Path, data: bytes, *, mode: int = 0o644) -> None:
    """Publish the file; nothing where it holds these bytes already."""
    if not file.exists() or file.read_bytes() != data:
        durable.publish(file, data, mode=mode)
