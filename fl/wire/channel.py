"""A site's gRPC channel to the cloud, by the rule of fl/wire/address.py, and why it may fail."""

from datetime import UTC, datetime
from pathlib import Path

import grpc
from cryptography import x509

from fl.errors import FederationError
from fl.tls_check import check_tls
from fl.wire.address import credentials_to_dial, is_loopback, split_address
from fl.wire.credentials import CA_CRT, SITE_CRT

_OPTIONS = (
    ("grpc.enable_http_proxy", 0),  # a site dials its cloud directly
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.min_reconnect_backoff_ms", 5000),  # longest a connection attempt may take
    # Else a cut line is noticed only when the kernel gives up, a quarter of an hour later.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)


def open_channel(address: str, keys: Path | None, *, setting: str) -> grpc.Channel:
    """Plain to this machine, with the keys of a site's bundle to any other.

    `setting` is what holds the address. Connects when it is first used. Raises SettingsError.
    """
    credentials = credentials_to_dial(address, keys, setting=setting)
    if credentials is None:
        return grpc.insecure_channel(address, options=_OPTIONS)
    return grpc.secure_channel(address, credentials, options=_OPTIONS)


def why_unavailable(address: str, keys: Path | None, *, setting: str) -> str | None:
    """One sentence where certificates or the way are to blame; None where they are not.

    gRPC itself says UNAVAILABLE for all of it. Takes the time of a handshake.
    """
    if keys is None or is_loopback(split_address(address, setting=setting)[0]):
        return None
    try:
        own = x509.load_pem_x509_certificate((keys / SITE_CRT).read_bytes())
        check_tls(address, keys / CA_CRT, what=setting)
    except FederationError as error:
        return str(error)
    except (OSError, ValueError):
        return (
            f"{keys / SITE_CRT} is no readable certificate; copy the site's folder of keys from "
            "the cloud's host again."
        )
    if own.not_valid_after_utc < datetime.now(UTC):
        return (
            f"{keys / SITE_CRT} expired on {own.not_valid_after_utc:%Y-%m-%d}; on the cloud's host "
            "run ./run.sh keys with the site's id and copy its folder again."
        )
    return None
