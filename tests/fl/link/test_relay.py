"""The relay with real sockets: what arrives is what was sent, and it is counted."""

import gc
import socket
import threading
from collections.abc import Iterator

import pytest

from fl.link.profiles import Profile, profile
from fl.link.relay import Relay

BODY = bytes(range(256)) * 1024  # 256 KiB


@pytest.fixture
def echo() -> Iterator[str]:
    """Sends everything back twice, and ends when its caller has ended."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while chunk := connection.recv(4096):
                    connection.sendall(chunk + chunk)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def talk(address: str, body: bytes) -> bytes:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        sender = threading.Thread(target=lambda: (connection.sendall(body), connection.shutdown(1)))
        sender.start()
        found = b""
        while chunk := connection.recv(65536):
            found += chunk
        sender.join()
    return found


@pytest.mark.parametrize("kind", ["none", "5g-bad"])
def test_what_crosses_is_whole_and_counted(echo: str, kind: str) -> None:
    with Relay(echo, profile(kind)) as relay:
        body = BODY if kind == "none" else BODY[:2048]
        found = talk(relay.address, body)
        assert sorted(found) == sorted(body + body)
        first = relay.crossed
        assert (first.up, first.down) == (len(body), 2 * len(body))
        talk(relay.address, b"abc")
        second = relay.crossed.since(first)
        assert (second.up, second.down) == (3, 6)


def test_many_talk_at_the_same_time(echo: str) -> None:
    quick = Profile(name="q", up_mbit_s=800, down_mbit_s=800, rtt_ms=2, jitter_ms=1)
    with Relay(echo, quick) as relay:
        found: dict[int, bytes] = {}

        def one(number: int) -> None:
            found[number] = talk(relay.address, bytes([number]) * 9000)

        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            gc.collect()  # a connection that nobody held would go with it
        assert all(found[n] == bytes([n]) * 18000 for n in range(8))
        assert relay.crossed.down == 8 * 18000


def test_a_cloud_that_is_not_there_closes_the_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Relay(f"127.0.0.1:{port}", profile("none")) as relay:
        assert talk(relay.address, b"") == b""
        assert relay.crossed.up == 0


def test_what_comes_by_the_side_takes_the_same_link_and_is_not_counted(echo: str) -> None:
    with Relay(echo, profile("none")) as relay:
        assert talk(relay.side_address, b"aside") == b"asideaside"
        assert talk(relay.address, b"abc") == b"abcabc"
        assert (relay.crossed.up, relay.crossed.down) == (3, 6)
