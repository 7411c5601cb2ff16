"""Where the HTTP API listens: bound early, served by uvicorn on a thread of its own.

Beyond this machine it wants API keys and TLS, unless `insecure` is set.
"""

import socket
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from fl.errors import SettingsError
from fl.openai_api.gateway import Gateway
from fl.wire.address import is_loopback, join_address, split_address

_POLL_S = 0.02
_BACKLOG = 512


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Files of TLS; `authority` is whose certificates callers must show, None for none."""

    certificate: Path
    key: Path
    authority: Path | None = None


class HttpListener:
    """A bound socket, which serves from `start` to `stop`."""

    def __init__(
        self,
        address: str,
        *,
        setting: str,
        certificates: Certificates | None,
        has_keys: bool,
        insecure: bool,
    ) -> None:
        """Bind. TLS is spoken only beyond this machine. Raises SettingsError."""
        host, port = split_address(address, setting=setting)
        self.local = is_loopback(host)
        if not self.local and not insecure and not (has_keys and certificates):
            section = setting.partition(".")[0]
            raise SettingsError(
                f"{setting} {address!r} is not on this machine alone, so it needs API keys "
                f"({section}.api_keys) and TLS. Set both, or {section}.insecure=true on a network "
                "that you trust with everything."
            )
        self._certificates = None if self.local else certificates
        self._check_certificates(setting)
        self._socket = _bound(host, port, address, setting)
        self.address = join_address(host, self._socket.getsockname()[1])
        self.url = f"{'https' if self._certificates else 'http'}://{self.address}"
        self._server: uvicorn.Server | None = None
        self._gateway: Gateway | None = None
        self._thread: threading.Thread | None = None

    def start(self, gateway: Gateway) -> None:
        """Answer; calls are refused until `gateway.ready` is set.

        Raises SettingsError where the server ends at once.
        """
        tls = self._certificates
        config = uvicorn.Config(
            gateway.app,
            http="h11",  # httptools, the other one, keeps headers of any length
            ws="none",
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            ssl_certfile=str(tls.certificate) if tls else None,
            ssl_keyfile=str(tls.key) if tls else None,
            ssl_ca_certs=str(tls.authority) if tls and tls.authority else None,
            ssl_cert_reqs=ssl.CERT_REQUIRED if tls and tls.authority else ssl.CERT_NONE,
            timeout_graceful_shutdown=1,
        )
        self._gateway, self._server = gateway, uvicorn.Server(config)
        self._thread = threading.Thread(
            target=self._server.run, args=([self._socket],), name="http", daemon=True
        )
        self._thread.start()
        while not self._server.started and self._thread.is_alive():
            time.sleep(_POLL_S)
        if not self._server.started:
            raise SettingsError(f"The HTTP API at {self.url} could not be started; see the log.")

    def drain(self, seconds: float, hurry: threading.Event | None = None) -> None:
        """Refuse new calls; wait for those that run, no longer than `seconds` or until `hurry`."""
        if self._gateway is None:
            return
        self._gateway.ready = False
        until = time.monotonic() + seconds
        while self._gateway.running and time.monotonic() < until:
            if hurry is not None and hurry.is_set():
                return
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End now: connections that are open are closed."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join()
        self._socket.close()

    def _check_certificates(self, setting: str) -> None:
        tls = self._certificates
        if tls is None:
            return
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            if tls.authority is not None:
                context.load_verify_locations(tls.authority)
        except OSError as error:  # which an SSLError is too
            raise SettingsError(
                f"{setting}: {tls.authority} is no certificate of an authority "
                f"({type(error).__name__}), which callers could be checked by."
            ) from None
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as error:
            raise SettingsError(
                f"{setting}: {tls.certificate} and {tls.key} are no certificate and key for TLS "
                f"({type(error).__name__})."
            ) from None


def _bound(host: str, port: int, address: str, setting: str) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(_BACKLOG)
    except OSError:
        raise SettingsError(
            f"{setting} {address!r} cannot be listened on: something else does already, the port "
            "needs rights, or this host has no such address. Choose another port, 0 for a free "
            "one, or none for no HTTP."
        ) from None
    return bound
