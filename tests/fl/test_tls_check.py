"""Every way a cloud's TLS can fail is one sentence that says what to do; with real handshakes."""

import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fl.errors import FederationError
from fl.tls_check import NobodyListens, check_tls
from server import certificates as issuing  # the certificates are as the cloud makes them

CA_KEY = issuing.new_key()
CA = issuing.authority(CA_KEY)
KEY = issuing.new_key()


def write(folder: Path, certificate: x509.Certificate, ca: x509.Certificate = CA) -> Path:
    """What a server needs, and the authority a site has."""
    (folder / "server.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    key = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.key").write_bytes(key)
    (folder / "ca.crt").write_bytes(ca.public_bytes(Encoding.PEM))
    return folder


def certificate(
    hosts: Sequence[str] = ("127.0.0.1",), *, not_after: datetime | None = None
) -> x509.Certificate:
    return issuing.issue(
        CA,
        CA_KEY,
        KEY,
        common_name="netgpt cloud",
        names=issuing.general_names(hosts),
        purpose=x509.ExtendedKeyUsageOID.SERVER_AUTH,
        not_after=not_after or datetime.now(UTC) + timedelta(days=9),
    )


@contextmanager
def serving(behave: Callable[[socket.socket], None]) -> Iterator[str]:
    """Call `behave` with every connection; yield the address."""
    listening = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                behave(connection)

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listening.getsockname()[1]}"
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def tls(folder: Path) -> Callable[[socket.socket], None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.crt", folder / "server.key")

    def shake_hands(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as line:
                line.recv(1)
        except OSError:
            pass  # the site did not like it

    return shake_hands


def says(address: str, ca_file: Path) -> str:
    with pytest.raises(FederationError) as failed:
        check_tls(address, ca_file, what="site.fleet")
    assert not isinstance(failed.value, NobodyListens)
    assert "\n" not in str(failed.value)
    assert address in str(failed.value)
    return str(failed.value)


def test_our_cloud_is_known(tmp_path: Path) -> None:
    with serving(tls(write(tmp_path, certificate()))) as address:
        check_tls(address, tmp_path / "ca.crt", what="site.fleet")


def test_an_expired_certificate_is_said_with_its_date(tmp_path: Path) -> None:
    end = datetime(2024, 5, 17, 8, 30, tzinfo=UTC)
    with serving(tls(write(tmp_path, certificate(not_after=end)))) as address:
        said = says(address, tmp_path / "ca.crt")
    assert "expired on 2024-05-17 08:30 UTC" in said
    assert "./run.sh keys" in said


def test_another_authority_another_host_and_no_tls(tmp_path: Path) -> None:
    other_key = issuing.new_key()
    other = issuing.authority(other_key)  # of the same name, as every federation's is
    with serving(tls(write(tmp_path, certificate(), other))) as address:
        assert re.search("not issued by the authority.*copy", says(address, tmp_path / "ca.crt"))

    with serving(tls(write(tmp_path, certificate(["cloud.example.org"])))) as address:
        said = says(address, tmp_path / "ca.crt")
        assert "does not name 127.0.0.1" in said
        assert "./run.sh keys --host 127.0.0.1" in said
        by_name = f"localhost:{address.rpartition(':')[2]}"
        assert "does not name localhost" in says(by_name, tmp_path / "ca.crt")

    with serving(lambda line: line.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as address:
        assert "speaks no TLS" in says(address, tmp_path / "ca.crt")


def test_nobody_listens_and_a_line_that_is_closed_may_be_waited_for(tmp_path: Path) -> None:
    write(tmp_path, certificate())
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(NobodyListens, match=r"site\.fleet.*start the cloud"):
        check_tls(address, tmp_path / "ca.crt", what="site.fleet")
    with (
        serving(lambda line: None) as address,
        pytest.raises(NobodyListens, match="was closed"),
    ):
        check_tls(address, tmp_path / "ca.crt", what="site.fleet")
    with pytest.raises(NobodyListens, match="Nobody listens"):
        check_tls("cloud.invalid:1", tmp_path / "ca.crt", what="site.fleet")


@pytest.mark.parametrize("content", [None, "", "no certificate"])
def test_an_authority_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "ca.crt").write_text(content)
    with pytest.raises(FederationError, match="no readable certificate"):
        check_tls("127.0.0.1:1", tmp_path / "ca.crt", what="site.fleet")
