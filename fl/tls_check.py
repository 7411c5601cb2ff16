"""Does our cloud answer at an address? A TLS handshake, and one sentence for each way it can fail.

gRPC and Flower's SuperNode say little more than that a connection failed; whoever sets up a site
needs to know which of the two ends to correct.
"""

import contextlib
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from fl.errors import FederationError
from fl.wire.address import split_address

_PATIENCE_S = 5.0  # for each of connecting and shaking hands

# OpenSSL's verify codes (openssl-verification-options(1))
_NOT_YET_VALID, _EXPIRED, _OTHER_HOST, _OTHER_IP = 9, 10, 62, 64


class NobodyListens(FederationError):
    """There is no answer yet; the only failure that waiting may mend."""


def check_tls(address: str, ca_file: Path, *, what: str) -> None:
    """Shake hands with whoever listens at host:port and check its certificate against `ca_file`.

    `what` is the setting that holds the address. Raises FederationError with one sentence that says
    what to do, NobodyListens among them; SettingsError where the address is none.
    """
    host, port = split_address(address, setting=what)
    where = f"{what} {address}"
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # also what ssl raises
        raise FederationError(
            f"{ca_file} is no readable certificate in PEM ({error.strerror or error}); "
            "copy the site's folder of keys from the cloud's host again."
        ) from None
    try:
        with _connected(host, port) as plain, context.wrap_socket(plain, server_hostname=host):
            return
    except ssl.SSLCertVerificationError as error:
        problem = _certificate_problem(error, host, port, ca_file)
        raise FederationError(f"{where}: {problem}") from None
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError, ConnectionError, TimeoutError) as error:
        raise NobodyListens(_nobody(where, error)) from None
    except ssl.SSLError as error:
        raise FederationError(
            f"{where}: what listens there speaks no TLS ({error.reason}); "
            f"correct {what}, or what runs on that port."
        ) from None
    except OSError as error:  # no route, no such name, ...
        raise NobodyListens(_nobody(where, error)) from None


def _connected(host: str, port: int) -> socket.socket:
    return socket.create_connection((host, port), timeout=_PATIENCE_S)


def _nobody(where: str, error: OSError) -> str:
    if isinstance(error, TimeoutError):
        reason = f"no answer within {_PATIENCE_S:g} s"
    elif isinstance(error, ssl.SSLError | ConnectionResetError):
        reason = "the connection was closed"
    else:
        reason = error.strerror or type(error).__name__
    return (
        f"Nobody listens at {where} ({reason}): start the cloud there, or correct the address "
        "or the firewall."
    )


def _certificate_problem(
    error: ssl.SSLCertVerificationError, host: str, port: int, ca_file: Path
) -> str:
    if error.verify_code == _EXPIRED:
        return _expired(host, port, ca_file)
    if error.verify_code == _NOT_YET_VALID:
        return (
            "the cloud's certificate is not valid yet; set the clock of this host, which says "
            f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC."
        )
    if error.verify_code in (_OTHER_HOST, _OTHER_IP):
        return (
            f"the cloud's certificate does not name {host}; on the cloud's host run "
            f"./run.sh keys --host {host} and restart it, or dial a name the certificate has."
        )
    return (
        f"the certificate there was not issued by the authority in {ca_file}; another cloud "
        "listens there, or its keys were made anew: copy the site's folder of keys from its host."
    )


def _expired(host: str, port: int, ca_file: Path) -> str:
    now = datetime.now(UTC)
    with contextlib.suppress(OSError, ValueError):
        end = x509.load_pem_x509_certificate(ca_file.read_bytes()).not_valid_after_utc
        if end < now:
            return (
                f"the authority in {ca_file} expired on {end:%Y-%m-%d}; on the cloud's host run "
                "./run.sh keys and copy the site's folder of keys again."
            )
    when = ""
    with contextlib.suppress(OSError, ValueError):
        when = f" on {_end_of(host, port):%Y-%m-%d %H:%M} UTC"
    return (
        f"the cloud's certificate expired{when}; on the cloud's host run ./run.sh keys and restart "
        "the cloud."
    )


def _end_of(host: str, port: int) -> datetime:
    """When the certificate there ends. Nothing else is believed of this unverified connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with (
        _connected(host, port) as plain,
        context.wrap_socket(plain, server_hostname=host) as tls,
    ):
        der = tls.getpeercert(binary_form=True)
    if der is None:
        raise ValueError("no certificate")
    return x509.load_der_x509_certificate(der).not_valid_after_utc
