"""Stands between a site and its cloud and keeps every byte that goes up."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field

from fl.wire.address import split_address


@dataclass
class Wiretap:
    address: str
    up: bytearray = field(default_factory=bytearray)


@contextmanager
def wiretap(target: str) -> Iterator[Wiretap]:
    """Listen for as long as the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        tap = Wiretap(f"127.0.0.1:{listening.getsockname()[1]}")

        def accept() -> None:
            with suppress(OSError):  # closed: the block has ended
                while True:
                    near, _ = listening.accept()
                    far = socket.create_connection(split_address(target))
                    for ends in ((near, far, tap.up), (far, near, bytearray())):
                        threading.Thread(target=_pass_on, args=ends, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield tap
        finally:
            listening.shutdown(socket.SHUT_RDWR)


def _pass_on(source: socket.socket, sink: socket.socket, kept: bytearray) -> None:
    with closing(source), closing(sink), suppress(OSError):
        while data := source.recv(65536):
            kept += data
            sink.sendall(data)
