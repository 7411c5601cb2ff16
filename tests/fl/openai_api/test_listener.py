"""A listener that cannot serve says so, and a caller cannot fill its memory."""

import socket
from pathlib import Path

import httpx
import pytest

from fl.errors import SettingsError
from fl.openai_api.listener import Certificates, HttpListener
from server.keys import make_cloud_keys
from tests.fl.openai_api.test_gateway import Scripted, served


@pytest.mark.parametrize("broken", ["server.crt", "server.key", "ca.crt"])
def test_files_that_tls_cannot_use_are_refused_before_anything_listens(
    tmp_path: Path, broken: str
) -> None:
    keys = tmp_path / "pki"
    make_cloud_keys(keys, hosts=["127.0.0.1"])
    (keys / broken).write_text("nonsense")
    with pytest.raises(SettingsError, match=rf"service\.http.*{broken}"):
        HttpListener(
            "0.0.0.0:0",
            setting="service.http",
            certificates=Certificates(
                certificate=keys / "server.crt",
                key=keys / "server.key",
                authority=keys / "ca.crt",
            ),
            has_keys=True,
            insecure=False,
        )


def test_headers_without_end_are_cut_off() -> None:
    with served(Scripted()) as service:
        host, port = service.listener.address.split(":")
        with socket.create_connection((host, int(port)), timeout=30) as rude:
            rude.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n")
            endless = b"".join(b"X-%d: %s\r\n" % (at, b"a" * 1000) for at in range(20_000))
            with pytest.raises(ConnectionError):
                rude.sendall(endless)  # 20 MB
        assert httpx.get(f"{service.listener.url}/health").status_code == 200
