"""Addresses of gRPC endpoints: `host:port`, for now on this machine only.

There is neither TLS nor a key yet, so both ends refuse any address that leaves the machine.
"""

import ipaddress

from fl.errors import SettingsError


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` (`[::1]:port` for IPv6). Raises SettingsError."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise SettingsError(
            f"service.address is host:port with a port of 0 to 65535, found {address!r}."
        )
    return host, int(port)


def require_loopback(address: str) -> tuple[str, int]:
    """Host and port of a loopback address. Raises SettingsError for any other."""
    host, port = split_address(address)
    if host != "localhost" and not _is_loopback(host):
        raise SettingsError(
            f"service.address {address!r} is not on this machine. The service has no encryption "
            "and no keys yet, so it listens and dials on 127.0.0.1, [::1] or localhost only."
        )
    return host, port


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 host."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
