"""The cloud's signing key: made once, whoever asks first; anything else is no signature of it."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP384R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fl import settings as settings_module
from fl.errors import ReleaseError
from fl.signing import (
    SIGNING_KEY,
    SIGNING_PUB,
    check_signature,
    cloud_key,
    make_signing_key,
    read_cloud_key,
    read_signing_key,
    sign,
    signing_key,
)
from tests.fl.releases import CLOUD_KEY, KEY, OTHER_CLOUD_KEY

# Waits until the start file is there, so that all processes begin together.
MAKE = """
import sys, pathlib
from fl.signing import make_signing_key
folder, start = map(pathlib.Path, sys.argv[1:])
print("ready", flush=True)
while not start.exists():
    pass
print(make_signing_key(folder).private_bytes_raw().hex())
"""


def test_processes_at_the_same_time_end_with_one_key(tmp_path: Path) -> None:
    folder, start = tmp_path / "pki", tmp_path / "start"
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", MAKE, str(folder), str(start)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for maker in makers:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "ready\n"
    start.touch()
    made = {maker.communicate()[0] for maker in makers}

    assert [maker.returncode for maker in makers] == [0, 0, 0, 0]
    assert made == {read_signing_key(folder / SIGNING_KEY).private_bytes_raw().hex() + "\n"}
    assert read_cloud_key(folder / SIGNING_PUB) == make_signing_key(folder).public_key()
    assert {file.name for file in folder.iterdir()} == {SIGNING_KEY, SIGNING_PUB}
    assert stat.S_IMODE((folder / SIGNING_KEY).stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_only_these_bytes_with_this_key() -> None:
    manifest, signature = b'{"number": 7}', sign(b'{"number": 7}', KEY)
    check_signature(manifest, signature, CLOUD_KEY)
    for bad in (
        b"",
        signature[:-1],
        signature + b"\0",
        signature[:-1] + bytes([signature[-1] ^ 1]),
    ):
        with pytest.raises(ReleaseError, match="does not belong"):
            check_signature(manifest, bad, CLOUD_KEY)
    with pytest.raises(ReleaseError, match="damaged or altered"):
        check_signature(b'{"number": 8}', signature, CLOUD_KEY)
    with pytest.raises(ReleaseError, match="another cloud made it"):
        check_signature(manifest, signature, OTHER_CLOUD_KEY)


def test_settings_say_where_the_keys_are(tmp_path: Path) -> None:
    cloud, site = tmp_path / "pki", tmp_path / "bundle"
    at_the_cloud = settings_module.load([f"keys={cloud}"])
    assert signing_key(at_the_cloud).public_key() == cloud_key(at_the_cloud)
    made_elsewhere = make_signing_key(site)
    at_a_site = settings_module.load([f"keys={cloud}", f"site.keys={site}"])
    assert cloud_key(at_a_site) == made_elsewhere.public_key()
    with pytest.raises(ReleaseError, match=r"nowhere/signing\.pub cannot be read.*run\.sh keys"):
        cloud_key(settings_module.load([f"site.keys={tmp_path / 'nowhere'}"]))


def test_the_public_half_is_made_again(tmp_path: Path) -> None:
    made = make_signing_key(tmp_path)
    (tmp_path / SIGNING_PUB).unlink()  # as after a kill between the two files
    assert make_signing_key(tmp_path).public_key() == made.public_key()
    assert read_cloud_key(tmp_path / SIGNING_PUB) == made.public_key()


def test_a_lost_key_is_not_made_anew_in_silence(tmp_path: Path) -> None:
    make_signing_key(tmp_path)
    (tmp_path / SIGNING_KEY).unlink()
    with pytest.raises(ReleaseError, match="Restore the key"):
        make_signing_key(tmp_path)
    assert not (tmp_path / SIGNING_KEY).exists()


def test_files_that_are_no_keys_are_refused(tmp_path: Path) -> None:
    make_signing_key(tmp_path)
    (tmp_path / SIGNING_KEY).chmod(0o640)
    with pytest.raises(ReleaseError, match="chmod 600"):
        make_signing_key(tmp_path)
    (tmp_path / SIGNING_KEY).chmod(0o600)
    (tmp_path / SIGNING_KEY).write_text("no key")
    with pytest.raises(ReleaseError, match="no Ed25519 private key"):
        read_signing_key(tmp_path / SIGNING_KEY)
    another_kind = generate_private_key(SECP384R1()).public_key()
    (tmp_path / SIGNING_PUB).write_bytes(
        another_kind.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for bad in (tmp_path / SIGNING_PUB, tmp_path / SIGNING_KEY):
        with pytest.raises(ReleaseError, match="no Ed25519 public key"):
            read_cloud_key(bad)
