"""The gate lets POST /v1/fleet/<name> and GET /health through, and nothing else, however it is put.

The SuperLink is played by a server that writes down all it gets; one slow test takes the real one.
"""

import http.client
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fl.errors import FederationError, SettingsError
from fl.flower_command import flower_environment, flwr, free_port, installed
from fl.process_group import ProcessGroup
from server.deployment.fleet_gate import LARGEST_BODY, open_gate
from server.federation.superlink import SuperLink
from server.keys import make_cloud_keys, make_site_keys

FLEET = "/v1/fleet/pull-messages"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki") / "pki"
    make_cloud_keys(folder)
    return folder


@dataclass
class FakeSuperLink:
    address: str = ""
    lines: list[str] = field(default_factory=list)  # request lines
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)


@contextmanager
def fake_superlink(keys: Path) -> Iterator[FakeSuperLink]:
    fake = FakeSuperLink()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            fake.lines.append(self.requestline)
            fake.headers.append({name.lower(): value for name, value in self.headers.items()})
            fake.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            answer = fake.bodies[-1][::-1]
            self.send_response(401 if answer == b"on" else 200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("flwr-version-incompatibility-message", "old")
            self.send_header("Set-Cookie", "a=b")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_POST

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(keys / "server.crt", keys / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    fake.address = f"127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def gate_to(superlink: str, keys: Path) -> Iterator[int]:
    server, listening = open_gate("127.0.0.1:0", superlink, keys)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(timeout=30)
        assert not thread.is_alive()


def trusting(keys: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=keys / "ca.crt")


def send(port: int, keys: Path, data: bytes) -> bytes:
    """The first line that comes back for these bytes; empty where the gate just closes."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as plain,
        trusting(keys).wrap_socket(plain, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(data)
        return tls.makefile("rb").readline()


def test_a_fleet_request_passes_with_its_signed_headers_and_without_neighbours_ones(
    keys: Path,
) -> None:
    body = bytes(range(256)) * 20_000  # 5 MB, as long as Flower's longest
    with fake_superlink(keys) as superlink, gate_to(superlink.address, keys) as port:
        line = http.client.HTTPSConnection("127.0.0.1", port, context=trusting(keys), timeout=30)
        headers = {
            "flwr-public-key": "cHVi",
            "flwr-timestamp": "2026-01-01T00:00:00+00:00",
            "flwr-signature": "c2ln",
            "Content-Type": "application/x-protobuf",
            "X-Forwarded-For": "127.0.0.1",
            "Keep-Alive": "timeout=5",
            "Cookie": "a=b",
        }
        line.request("POST", FLEET, body=body, headers=headers)
        answer = line.getresponse()
        assert (answer.status, answer.read()) == (200, body[::-1])
        assert answer.headers["content-type"] == "application/x-protobuf"
        assert answer.headers["flwr-version-incompatibility-message"] == "old"
        assert answer.headers["set-cookie"] is None
        line.request("POST", FLEET, body=b"no")  # what the SuperLink refuses stays refused
        refused = line.getresponse()
        assert (refused.status, refused.read()) == (401, b"on")
        line.request("GET", "/health")
        health = line.getresponse()
        assert (health.status, health.read()) == (200, b"")
        line.close()

    assert superlink.lines == [f"POST {FLEET} HTTP/1.1"] * 2 + ["GET /health HTTP/1.1"]
    assert superlink.bodies == [body, b"no", b""]
    passed = superlink.headers[0]
    assert {name: passed[name] for name in list(headers)[:3]} == dict(list(headers.items())[:3])
    assert passed["host"] == superlink.address
    assert not {"x-forwarded-for", "keep-alive", "cookie", "transfer-encoding"} & passed.keys()


@pytest.mark.parametrize(
    "line",
    [
        "POST /v1/control/list-runs",
        "POST /v1/control/start-run",
        "POST /v1/runtime/acquire-task",
        "POST //v1/control/list-runs",
        "POST //v1/fleet/pull-messages",
        "POST /v1//fleet/pull-messages",
        "POST /v1/fleet/../control/list-runs",
        "POST /v1/fleet/%2e%2e/control/list-runs",
        "POST /v1/fleet/..%2fcontrol%2flist-runs",
        "POST /v1/fleet/%252e%252e/control/list-runs",
        "POST /v1/fleet/..\\control\\list-runs",
        "POST /v1/fleet/pull%2Dmessages",
        "POST /v1/fleet/./pull-messages",
        "POST /v1/fleet/pull-messages/",
        "POST /v1/fleet/pull-messages;/../../control/list-runs",
        "POST /v1/fleet/pull-messages?x=/v1/control/list-runs",
        "POST /v1/fleet/pull-messages#x",
        "POST /v1/fleet/Pull-Messages",
        "POST /v1/fleet/",
        "POST /v1/fleet",
        "POST /v1/fleet/a--b",
        "POST https://127.0.0.1/v1/control/list-runs",
        "POST https://127.0.0.1/v1/fleet/pull-messages",
        "POST v1/fleet/pull-messages",
        "POST *",
        "GET /v1/fleet/pull-messages",
        "PUT /v1/fleet/pull-messages",
        "DELETE /v1/fleet/pull-messages",
        "OPTIONS *",
        "CONNECT 127.0.0.1:443",
        "TRACE /v1/fleet/pull-messages",
        "post /v1/fleet/pull-messages",
        "GET /docs",
        "GET /openapi.json",
        "GET /health/../docs",
        "POST /health",
        "GET /v1/responses",
        "GET /",
    ],
)
def test_nothing_else_reaches_the_superlink(line: str, keys: Path, gates: "Gates") -> None:
    request = f"{line} HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi".encode()
    said = send(gates.port, keys, request)
    assert said == b"" or said.split()[1] in (b"404", b"400"), said
    assert gates.superlink.lines == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (f"Content-Length: {LARGEST_BODY + 1}", b"413"),
        ("Content-Length: 99999999999999999999", b"413"),
        ("Transfer-Encoding: chunked", b"411"),
        ("X: no length", b"411"),
        ("Content-Length: 4\r\nTransfer-Encoding: chunked", b"411"),
        ("Content-Length: 4\r\nContent-Length: 5", b"400"),
        ("Content-Length: -1", b"400"),
    ],
)
def test_a_body_has_a_known_bearable_size(
    headers: str, status: bytes, keys: Path, gates: "Gates"
) -> None:
    request = f"POST {FLEET} HTTP/1.1\r\nHost: gate\r\n{headers}\r\n\r\n0\r\n\r\n".encode()
    assert send(gates.port, keys, request).split()[1] == status
    assert gates.superlink.lines == []


@dataclass
class Gates:
    port: int
    superlink: FakeSuperLink


@pytest.fixture(scope="module")
def gates(keys: Path) -> Iterator[Gates]:
    """One gate for all refusals: its SuperLink must still be untouched after the last."""
    with fake_superlink(keys) as superlink, gate_to(superlink.address, keys) as port:
        yield Gates(port, superlink)


def test_a_superlink_that_is_down_or_somebody_else_is_503(keys: Path, tmp_path: Path) -> None:
    make_cloud_keys(tmp_path / "other")
    request = f"POST {FLEET} HTTP/1.1\r\nHost: gate\r\nContent-Length: 2\r\n\r\nhi".encode()
    with gate_to(f"127.0.0.1:{free_port()}", keys) as port:
        assert send(port, keys, request).split()[1] == b"503"
    with fake_superlink(tmp_path / "other") as impostor:
        with gate_to(impostor.address, keys) as port:
            assert send(port, keys, request).split()[1] == b"503"
        assert impostor.lines == []


def test_what_keeps_it_from_opening_is_one_sentence(keys: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"\./run\.sh keys"):
        open_gate("127.0.0.1:0", "127.0.0.1:1", tmp_path)
    with pytest.raises(SettingsError, match=r"cloud\.fleet is host:port"):
        open_gate("127.0.0.1", "127.0.0.1:1", keys)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match="cannot be listened on"):
            open_gate(address, "127.0.0.1:1", keys)
        command = [sys.executable, "-m", "server.deployment.fleet_gate", "--listen", address]
        command += ["--superlink", "127.0.0.1:1", "--keys", str(keys)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_registered_supernode_comes_in_by_the_gate_and_nobody_else(
    keys: Path, tmp_path: Path
) -> None:
    with ProcessGroup(folder=tmp_path, logs=tmp_path / "logs") as group:
        superlink = SuperLink(
            group,
            home=tmp_path / "home",
            port=free_port(),
            ca=keys / "ca.crt",
            arguments=(
                *("--ssl-ca-certfile", str(keys / "ca.crt")),
                *("--ssl-certfile", str(keys / "server.crt")),
                *("--ssl-keyfile", str(keys / "server.key")),
                *("--enable-supernode-auth", "--database", str(tmp_path / "state.db")),
            ),
        )
        superlink.start()
        superlink.register(make_site_keys(keys, "oslo") / "site.pub", name="oslo")
        make_site_keys(keys, "bergen")  # has keys of our authority, but is not registered
        with gate_to(f"127.0.0.1:{superlink.port}", keys) as port:
            for site in ("oslo", "bergen"):
                bundle = keys / "sites" / site
                command = installed(
                    "flower-supernode",
                    *("--superlink", f"127.0.0.1:{port}", "--host", "127.0.0.1"),
                    *("--root-certificates", str(bundle / "ca.crt")),
                    *("--auth-supernode-private-key", str(bundle / "site.ssh")),
                    *("--port", str(free_port()), "--node-config", f'site="{site}"'),
                )
                group.start(site, command, flower_environment(tmp_path / site))

            # 1. Oslo comes online, Bergen is sent away.
            until = time.monotonic() + 120
            while not (online := _online(superlink)) and time.monotonic() < until:
                time.sleep(0.5)
            assert online == 1, group.log_file("oslo").read_text()
            while group.alive("bergen") and time.monotonic() < until:
                time.sleep(0.5)
            assert (group.alive("oslo"), group.alive("bergen")) == (True, False)
            assert _online(superlink) == 1

            # 2. The Control API, which works on loopback, is not there behind the gate.
            home = tmp_path / "intruder"
            home.mkdir()
            (home / "config.toml").write_text(
                f'superlink.default = "it"\nsuperlink.it.address = "127.0.0.1:{port}"\n'
                f'superlink.it.root-certificates = "{keys / "ca.crt"}"\n'
            )
            with pytest.raises(FederationError, match="failed"):
                flwr(flower_environment(home), "list")


def _online(superlink: SuperLink) -> int:
    nodes = superlink.flwr("supernode", "list")["nodes"]
    return sum(node["status"] == "online" for node in nodes)
