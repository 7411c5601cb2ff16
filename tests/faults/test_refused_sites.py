"""Who is not let in is told so in one sentence: unregistered key, wrong authority, expired."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from fl.flower_command import free_port
from fl.process_group import ProcessGroup
from server import certificates
from server.federation.superlink import SuperLink
from server.keys import make_cloud_keys, make_site_keys
from tests.walks.tiny_federation import make_tiny_federation

pytestmark = pytest.mark.slow


def superlink(group: ProcessGroup, keys: Path, home: Path) -> SuperLink:
    """One as a deployment starts it."""
    return SuperLink(
        group,
        home=home,
        port=free_port(),
        ca=keys / "ca.crt",
        arguments=(
            *("--ssl-ca-certfile", str(keys / "ca.crt")),
            *("--ssl-certfile", str(keys / "server.crt")),
            *("--ssl-keyfile", str(keys / "server.key")),
            *("--enable-supernode-auth", "--database", str(home / "state.db")),
        ),
    )


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cloud") / "pki"
    make_cloud_keys(folder)
    make_site_keys(folder, "elm")
    make_site_keys(folder, "ash")
    return folder


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[int]:
    """Of a SuperLink that knows elm and not ash."""
    folder = tmp_path_factory.mktemp("superlink")
    with ProcessGroup(folder=folder / "groups", logs=folder / "logs") as group:
        running = superlink(group, keys, folder / "home")
        running.start()
        running.register(keys / "sites" / "elm" / "site.pub", name="elm")
        running.register(keys / "sites" / "elm" / "site.pub", name="elm")  # once more is no error
        yield running.port


def run_site(folder: Path, *arguments: str) -> tuple[int, str]:
    """Exit code and last words of the verb `site`, which must end by itself."""
    config = make_tiny_federation(folder)
    done = subprocess.run(
        [sys.executable, "-m", "clients", "site", *config, *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    return done.returncode, done.stderr


def test_an_unregistered_key(tmp_path: Path, keys: Path, port: int) -> None:
    code, said = run_site(
        tmp_path, "site.id=ash", f"site.fleet=127.0.0.1:{port}", f"site.keys={keys / 'sites/ash'}"
    )
    assert code == 1
    assert said.startswith("The cloud does not know the key of site ash.")
    assert len(said.splitlines()) == 1


def test_a_wrong_authority(tmp_path: Path, port: int) -> None:
    other = tmp_path / "other"
    make_cloud_keys(other)
    bundle = make_site_keys(other, "elm")
    code, said = run_site(
        tmp_path, "site.id=elm", f"site.fleet=127.0.0.1:{port}", f"site.keys={bundle}"
    )
    assert code == 1
    assert "authority" in said
    assert str(port) in said
    assert len(said.splitlines()) == 1


def test_an_expired_certificate(tmp_path: Path, keys: Path) -> None:
    expired = tmp_path / "expired"
    shutil.copytree(keys, expired)
    ca = x509.load_pem_x509_certificate((keys / "ca.crt").read_bytes())
    ca_key, key = (
        load_pem_private_key((keys / name).read_bytes(), None) for name in ("ca.key", "server.key")
    )
    yesterday = datetime.now(UTC) - timedelta(days=1)
    certificate = certificates.issue(
        ca,
        ca_key,  # type: ignore[arg-type]
        key,  # type: ignore[arg-type]
        common_name="netgpt cloud",
        names=certificates.general_names(["127.0.0.1"]),
        purpose=ExtendedKeyUsageOID.SERVER_AUTH,
        not_after=yesterday,
    )
    (expired / "server.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    with ProcessGroup(folder=tmp_path / "groups", logs=tmp_path / "logs") as group:
        running = superlink(group, expired, tmp_path / "home")
        # our own client would refuse it too: wait for the port alone
        running.wait_until_ready = lambda: None  # type: ignore[method-assign]
        running.start()
        code, said = run_site(
            tmp_path,
            "site.id=elm",
            f"site.fleet=127.0.0.1:{running.port}",
            f"site.keys={expired / 'sites/elm'}",
        )
    assert code == 1
    assert "expired" in said
    assert f"{yesterday:%Y-%m-%d}" in said


def test_missing_keys_are_named(tmp_path: Path) -> None:
    code, said = run_site(tmp_path, "site.id=elm")
    assert code == 2
    assert "./run.sh keys elm" in said
    code, said = run_site(tmp_path, "site.id=elm", f"site.keys={tmp_path}")
    assert code == 2
    assert "lacks site.key" in said
    code, said = run_site(tmp_path, "site.id=oak")
    assert code == 2
    assert "elm, ash" in said
