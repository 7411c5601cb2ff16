"""What a service needs before it can serve: signals, limits, a port, and a note of its address."""

import asyncio
import os
import signal
from pathlib import Path

import grpc

from fl.errors import SettingsError
from fl.settings import Settings
from fl.wire.address import credentials_to_listen, join_address, split_address

ADDRESS_FILE = "service.address"  # in settings.run_dir, while the service runs


def stop_events() -> tuple[asyncio.Event, asyncio.Event]:
    """Events that the first and the second SIGTERM or SIGINT set."""
    stop, hurry = asyncio.Event(), asyncio.Event()

    def arrived() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, arrived)
    return stop, hurry


def options(settings: Settings) -> list[tuple[str, int]]:
    """Limits of the gRPC server."""
    # A token is hardly ever longer than 16 bytes; 64 KiB leave room for any short request.
    largest = max(64 * 1024, 16 * settings.service.max_prompt_tokens)
    return [
        ("grpc.max_receive_message_length", largest),
        ("grpc.so_reuseport", 0),  # else a second service would share the port, unnoticed
        ("grpc.keepalive_time_ms", 60_000),  # a caller who vanished gives its place back
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),  # as sites ping
    ]


def bind(server: grpc.aio.Server, settings: Settings) -> str:
    """Bind service.address, by mutual TLS unless it is loopback; return it with the real port.

    Raises SettingsError where keys are missing or the address is taken.
    """
    wanted = settings.service.address
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
    file.parent.mkdir(parents=True, exist_ok=True)
    aside = file.with_name(f".{file.name}.{os.getpid()}")
    with open(aside, "w") as stream:
        stream.write(address)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(aside, file)


def withdraw(file: Path, address: str) -> None:
    """Remove the file, unless another service has written its own address since."""
    if file.is_file() and file.read_text() == address:
        file.unlink()
