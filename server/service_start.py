"""What a service needs before it can serve: signals, limits, a port, and a note of its address."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import grpc

from fl import durable
from fl.errors import SettingsError
from fl.openai_api.listener import Certificates
from fl.settings import Settings
from fl.wire.address import credentials_to_listen, join_address, split_address
from fl.wire.credentials import CA_CRT, SERVER_CRT, SERVER_KEY

# In settings.service_dir, while the service runs.
ADDRESS_FILE = "service.address"
HTTP_FILE = "service.http"


def stop_events(*, tethered: bool = False) -> tuple[asyncio.Event, asyncio.Event]:
    """Events that the first and the second SIGTERM or SIGINT set.

    With `tethered` the end of standard input sets both: who would read the answers is no more.
    """
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def arrived() -> None:
        (hurry if stop.is_set() else stop).set()

    def read() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()
            hurry.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, arrived)
    if tethered:
        loop.add_reader(sys.stdin.fileno(), read)
    return stop, hurry


def largest_request(settings: Settings) -> int:
    """Bytes of a request, at the most."""
    # A token is hardly ever longer than 16 bytes; 64 KiB leave room for any short request.
    return max(64 * 1024, 16 * settings.service.max_prompt_tokens)


def certificates(settings: Settings) -> Certificates | None:
    """What HTTP beyond this machine is served with; None before ./run.sh keys."""
    folder = settings.keys_dir
    if not (folder / SERVER_CRT).is_file():
        return None
    return Certificates(
        certificate=folder / SERVER_CRT,
        key=folder / SERVER_KEY,
        authority=folder / CA_CRT if settings.service.client_certificates else None,
    )


def options(settings: Settings) -> list[tuple[str, int]]:
    """Limits of the gRPC server."""
    return [
        ("grpc.max_receive_message_length", largest_request(settings)),
        ("grpc.so_reuseport", 0),  # else a second service would share the port, unnoticed
        ("grpc.keepalive_time_ms", 60_000),  # a caller who vanished gives its place back
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # as sites ping
    ]


def bind(server: grpc.aio.Server, settings: Settings) -> str:
    """Bind service.address, by mutual TLS unless it is loopback or service.insecure is set.

    Returns the address with the real port.

    Raises SettingsError where keys are missing or the address is taken.
    """
    wanted = settings.service.address
    credentials = None
    if not settings.service.insecure:
        credentials = credentials_to_listen(wanted, settings.keys_dir)
    host, port = split_address(wanted)
    address = join_address(host, port)
    try:
        if credentials is None:
            bound = server.add_insecure_port(address)
        else:
            bound = server.add_secure_port(address, credentials)
    except RuntimeError:
        bound = 0
    if bound == 0:
        raise SettingsError(
            f"service.address {wanted!r} cannot be listened on: something else does already, "
            "the port needs rights, or this host has no such address. Choose another port, or 0 "
            "for a free one."
        )
    return join_address(host, bound)


def publish(file: Path, address: str) -> None:
    """Write the address so that a reader sees all of it or nothing."""
    durable.publish(file, address.encode())


def withdraw(file: Path, address: str) -> None:
    """Remove the file, unless another service has written its own address since."""
    if file.is_file() and file.read_text() == address:
        file.unlink()
