"""gRPC says UNAVAILABLE for all that can be wrong with certificates; we say which it is."""

import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from fl.wire import channel
from fl.wire.channel import why_unavailable
from server import certificates
from server.keys import make_cloud_keys, make_site_keys
from tests.fl.test_tls_check import serving, tls


@pytest.fixture
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The test's cloud is on loopback, about which there is nothing to explain.
    monkeypatch.setattr(channel, "is_loopback", lambda host: False)
    make_cloud_keys(tmp_path / "pki")
    make_site_keys(tmp_path / "pki", "oslo")
    return tmp_path / "pki"


def test_nothing_is_said_where_the_certificates_are_fine(keys: Path) -> None:
    bundle = keys / "sites" / "oslo"
    with serving(tls(keys)) as address:
        assert why_unavailable(address, bundle, setting="site.cloud") is None
        assert why_unavailable(address, None, setting="site.cloud") is None


def test_nothing_is_looked_at_on_loopback(tmp_path: Path) -> None:
    assert why_unavailable("127.0.0.1:1", tmp_path, setting="site.cloud") is None


def test_what_is_wrong_is_one_sentence(keys: Path, tmp_path: Path) -> None:
    bundle = keys / "sites" / "oslo"
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"127.0.0.1:{free.getsockname()[1]}"
    said = why_unavailable(nobody, bundle, setting="site.cloud") or ""
    assert "Nobody listens at site.cloud" in said

    with serving(tls(keys)) as address:
        make_cloud_keys(tmp_path / "other")
        other = make_site_keys(tmp_path / "other", "oslo")
        said = why_unavailable(address, other, setting="site.cloud") or ""
        assert "not issued by the authority" in said

        key = load_pem_private_key((keys / "ca.key").read_bytes(), password=None)
        expired = certificates.issue(
            x509.load_pem_x509_certificate((keys / "ca.crt").read_bytes()),
            key,  # type: ignore[arg-type]
            key,  # type: ignore[arg-type]
            common_name="oslo",
            names=(),
            purpose=x509.ExtendedKeyUsageOID.CLIENT_AUTH,
            not_after=datetime(2024, 5, 17, tzinfo=UTC),
        )
        (bundle / "site.crt").write_bytes(expired.public_bytes(Encoding.PEM))
        said = why_unavailable(address, bundle, setting="site.cloud") or ""
        assert "site.crt expired on 2024-05-17" in said
        (bundle / "site.crt").write_bytes(b"torn")
        said = why_unavailable(address, bundle, setting="site.cloud") or ""
        assert "no readable certificate" in said
