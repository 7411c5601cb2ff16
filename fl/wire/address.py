"""Addresses of gRPC endpoints, and the rule for them: who leaves the machine shows a certificate.

A loopback address is served and dialled plain: what runs on this machine is trusted as far as its
users are. Any other address takes mutual TLS, and is refused without the keys for it.
"""

import ipaddress
from pathlib import Path

import grpc

from fl.errors import SettingsError
from fl.wire.credentials import channel_credentials, server_credentials


def split_address(address: str, *, setting: str = "service.address") -> tuple[str, int]:
    """Host and port of `host:port` (`[::1]:port` for IPv6). Raises SettingsError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(f"{setting} is host:port with a port of 0 to 65535, found {address!r}.")
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Does this host name this machine, and nothing else?"""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_wildcard(host: str) -> bool:
    """Does listening here mean every address of the machine?"""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def require_loopback(address: str, *, setting: str = "service.address") -> tuple[str, int]:
    """Host and port of a loopback address. Raises SettingsError for any other."""
    host, port = split_address(address, setting=setting)
    if not is_loopback(host):
        raise SettingsError(
            f"{setting} {address!r} is not on this machine, and there are no keys for the way. "
            "Use 127.0.0.1, [::1] or localhost, or make keys with ./run.sh keys SITE and name "
            "the site's folder in site.keys."
        )
    return host, port


def credentials_to_listen(
    address: str, keys_dir: Path, *, setting: str = "service.address"
) -> grpc.ServerCredentials | None:
    """What to listen with; None means plain. Raises SettingsError where keys are missing.

    `keys_dir` is the cloud's folder of keys.
    """
    if is_loopback(split_address(address, setting=setting)[0]):
        return None
    try:
        return server_credentials(keys_dir)
    except SettingsError as error:
        raise SettingsError(
            f"{setting} {address!r} is not on this machine alone, so it needs keys: {error}"
        ) from None


def credentials_to_dial(
    address: str, bundle: Path | None, *, setting: str = "service.address"
) -> grpc.ChannelCredentials | None:
    """What to dial with; None means plain. Raises SettingsError where keys are missing.

    `bundle` is the folder of keys that a site got from the cloud.
    """
    if bundle is None or is_loopback(split_address(address, setting=setting)[0]):
        require_loopback(address, setting=setting)
        return None
    return channel_credentials(bundle)
