"""Keys and certificates: what OpenSSL and OpenSSH make of them, who may read them, second runs."""

import shutil
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from typer.testing import CliRunner

from fl.errors import SettingsError
from server import certificates
from server.__main__ import app
from server.keys import make_cloud_keys, make_site_keys

# independent readers; what they say is also what libraries built on them say
needs_openssl = pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl here")
needs_ssh_keygen = pytest.mark.skipif(not shutil.which("ssh-keygen"), reason="no ssh-keygen here")


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def openssl(*arguments: object) -> str:
    command = ["openssl", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def names(certificate: Path) -> list[str]:
    return certificates.hosts_of(x509.load_pem_x509_certificate(certificate.read_bytes()))


@needs_openssl
def test_what_others_read_of_the_certificates(tmp_path: Path) -> None:
    keys = tmp_path / "pki"
    make_cloud_keys(keys, hosts=["cloud.example.org", "192.0.2.7"])
    bundle = make_site_keys(keys, "oslo_1")

    ca = keys / "ca.crt"
    strict = ("verify", "-x509_strict", "-CAfile", ca)
    assert "OK" in openssl(*strict, "-purpose", "sslserver", keys / "server.crt")
    assert "OK" in openssl(*strict, "-purpose", "sslclient", bundle / "site.crt")
    for file, purpose in ((keys / "server.crt", "sslclient"), (bundle / "site.crt", "sslserver")):
        with pytest.raises(subprocess.CalledProcessError):
            openssl(*strict, "-purpose", purpose, file)
    assert names(keys / "server.crt") == [
        *("localhost", "127.0.0.1", "::1"),
        *("cloud.example.org", "192.0.2.7"),
    ]
    assert "CN=oslo_1" in openssl(
        *("x509", "-noout", "-subject", "-nameopt", "RFC2253", "-in", bundle / "site.crt")
    )
    assert (bundle / "ca.crt").read_bytes() == ca.read_bytes()
    assert (bundle / "signing.pub").read_bytes() == (keys / "signing.pub").read_bytes()
    assert "ED25519" in openssl("pkey", "-noout", "-text", "-in", keys / "signing.key")


@needs_openssl
@needs_ssh_keygen
def test_the_supernodes_key_is_the_sites_key(tmp_path: Path) -> None:
    make_cloud_keys(tmp_path / "pki")
    bundle = make_site_keys(tmp_path / "pki", "oslo")

    assert bundle == tmp_path / "pki" / "sites" / "oslo"
    assert (bundle / "site.pub").read_text().startswith("ecdsa-sha2-nistp384 ")
    read = ["ssh-keygen", "-y", "-f", str(bundle / "site.ssh")]
    public = subprocess.run(read, capture_output=True, text=True, check=True).stdout
    assert public.split()[:2] == (bundle / "site.pub").read_text().split()[:2]
    certificate = x509.load_pem_x509_certificate((bundle / "site.crt").read_bytes())
    pem = openssl("pkey", "-pubout", "-in", bundle / "site.key")
    assert pem == openssl("x509", "-noout", "-pubkey", "-in", bundle / "site.crt")
    assert certificate.not_valid_after_utc > datetime.now(UTC) + timedelta(days=800)


def test_private_files_are_private_and_a_second_run_changes_no_byte(tmp_path: Path) -> None:
    keys = tmp_path / "pki"
    make_cloud_keys(keys, hosts=["a.example"])
    bundle = make_site_keys(keys, "oslo")
    before = contents(keys)

    make_cloud_keys(keys, hosts=[])
    make_cloud_keys(keys, hosts=["a.example", "localhost"])
    make_site_keys(keys, "oslo")

    assert contents(keys) == before
    for folder in (keys, keys / "sites", bundle):
        assert mode(folder) == 0o700
    private = ("ca.key", "server.key", "signing.key")
    for file in (*(keys / name for name in private), bundle / "site.key", bundle / "site.ssh"):
        assert mode(file) == 0o600
    assert not [name for name in before if name.startswith(".") and name != ".lock"]


@needs_openssl
def test_a_new_host_and_a_near_end_issue_again_and_keep_the_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "pki"
    monkeypatch.setattr(certificates, "CERTIFICATE_DAYS", 6)  # so it counts as expired
    make_cloud_keys(keys, hosts=["a.example"])
    bundle = make_site_keys(keys, "oslo")
    before = contents(keys)
    monkeypatch.undo()

    make_cloud_keys(keys, hosts=["b.example"])
    make_site_keys(keys, "oslo")

    after = contents(keys)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {"server.crt", "sites/oslo/site.crt"}
    assert names(keys / "server.crt")[3:] == ["a.example", "b.example"]
    assert "OK" in openssl("verify", "-CAfile", keys / "ca.crt", bundle / "site.crt")


def test_a_lost_certificate_of_the_authority_comes_back_and_a_lost_key_does_not(
    tmp_path: Path,
) -> None:
    keys = tmp_path / "pki"
    make_cloud_keys(keys)
    bundle = make_site_keys(keys, "oslo")
    issued = (bundle / "site.crt").read_bytes()
    (keys / "ca.crt").unlink()

    make_cloud_keys(keys)  # the same key and name, so what was issued holds

    assert make_site_keys(keys, "oslo") == bundle
    assert (bundle / "site.crt").read_bytes() == issued
    assert (bundle / "ca.crt").read_bytes() == (keys / "ca.crt").read_bytes()
    (keys / "ca.key").unlink()
    with pytest.raises(SettingsError, match=r"has no ca\.key"):
        make_cloud_keys(keys)


@pytest.mark.parametrize("site_id", ["", "../ca", "Oslo", "a/b", "oslo\n"])
def test_an_id_that_is_none_writes_nothing(tmp_path: Path, site_id: str) -> None:
    make_cloud_keys(tmp_path / "pki")
    before = contents(tmp_path)
    with pytest.raises(SettingsError, match="site's id"):
        make_site_keys(tmp_path / "pki", site_id)
    assert contents(tmp_path) == before


def test_refusals_say_what_to_do(tmp_path: Path) -> None:
    keys = tmp_path / "pki"
    with pytest.raises(SettingsError, match=r"\./run\.sh keys"):
        make_site_keys(keys, "oslo")
    for wrong in ("höst", "cloud.example.org:9092", "[::1]", ""):
        with pytest.raises(SettingsError, match="without a port"):
            make_cloud_keys(keys, hosts=["fe80::1", wrong])
    make_cloud_keys(keys)
    (keys / "ca.key").chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        make_cloud_keys(keys)
    (keys / "ca.key").chmod(0o600)
    keys.chmod(0o770)
    with pytest.raises(SettingsError, match="chmod 700"):
        make_cloud_keys(keys)
    keys.chmod(0o700)
    (keys / "ca.key").write_text("no key")
    with pytest.raises(SettingsError, match="no private key"):
        make_cloud_keys(keys)


@needs_openssl
def test_two_processes_at_once_make_one_authority(tmp_path: Path) -> None:
    keys = tmp_path / "pki"
    program = "import sys; from pathlib import Path; from server.keys import *; "
    program += "make_cloud_keys(Path(sys.argv[1])); make_site_keys(Path(sys.argv[1]), 'oslo')"
    command = [sys.executable, "-c", program, str(keys)]
    started = [subprocess.Popen(command) for _ in range(2)]
    assert [process.wait(timeout=60) for process in started] == [0, 0]
    site = keys / "sites" / "oslo" / "site.crt"
    assert "OK" in openssl("verify", "-CAfile", keys / "ca.crt", keys / "server.crt", site)


def test_the_verb_makes_the_cloud_and_the_sites_it_is_told(tmp_path: Path) -> None:
    arguments = ["keys", "oslo", "--host", "h.example", f"keys={tmp_path}/pki", "bergen"]
    arguments += ["cloud.fleet=192.0.2.9:1", "service.address=0.0.0.0:1"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert str(tmp_path / "pki" / "sites" / "bergen") in shown.output
    assert names(tmp_path / "pki" / "server.crt")[3:] == ["192.0.2.9", "h.example"]
    assert {site.name for site in (tmp_path / "pki" / "sites").iterdir()} == {"oslo", "bergen"}
    wrong = CliRunner().invoke(app, ["keys", "kyes=x"])
    assert isinstance(wrong.exception, SettingsError)  # which main turns into exit code 2
    assert "Did you mean keys?" in str(wrong.exception)
