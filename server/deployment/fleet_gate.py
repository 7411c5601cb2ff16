"""The gate to the Fleet API: all of Flower that other hosts reach.

    python -m server.deployment.fleet_gate --listen H:P --superlink H:P --keys DIR

The SuperLink answers the Fleet, Control and Runtime APIs on one port, and whoever reaches the
Control API may run any code at every site. So the SuperLink listens on loopback only, and this gate
lets exactly `POST /v1/fleet/<name>` and `GET /health` through. It decides on the path as it was
sent, before anybody decodes or normalises it, and writes the path it forwards itself. Who a
SuperNode is, the SuperLink checks by the signed headers, which pass unchanged.
"""

import asyncio
import logging
import re
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Annotated

import httpx
import typer
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from fl.errors import NetGPTError, SettingsError
from fl.wire.address import join_address, split_address
from fl.wire.credentials import CA_CRT, SERVER_CRT, SERVER_KEY

log = logging.getLogger(__name__)

FLEET_PATH = re.compile(rb"/v1/fleet/([a-z]+(?:-[a-z]+)*)")
LARGEST_BODY = 16 * 2**20  # bytes; Flower cuts what it sends into 5 MiB
LONGEST_EXCHANGE_S = 300.0  # so that a slow caller does not hold a connection for ever
MOST_CONNECTIONS = 512

# Headers that pass, beside Flower's own. The rest is between neighbours, or would let a caller
# speak to the SuperLink as a proxy on its own host may (x-forwarded-for).
_TO_SUPERLINK = {b"accept", b"accept-encoding", b"content-length", b"content-type", b"user-agent"}
_TO_CALLER = {b"content-encoding", b"content-length", b"content-type", b"retry-after"}
_FLOWERS = (b"flwr-", b"x-flwr-")

_Headers = Iterable[tuple[bytes, bytes]]


class FleetGate:
    """An ASGI app in front of `superlink` (host:port), whose certificate `context` checks."""

    def __init__(self, superlink: str, context: ssl.SSLContext) -> None:
        self._superlink = f"https://{superlink}"
        # A transport, not a client: no cookies, no redirects, no proxies, no headers of its own.
        limits = httpx.Limits(max_connections=MOST_CONNECTIONS, keepalive_expiry=10)
        self._transport = httpx.AsyncHTTPTransport(verify=context, limits=limits, trust_env=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", "lifespan and websockets are switched off"
        request = Request(scope, receive)
        try:
            async with asyncio.timeout(LONGEST_EXCHANGE_S):
                response = await self._answer(request)
                await response(scope, receive, send)
        except (TimeoutError, ClientDisconnect, httpx.TransportError) as error:
            log.warning("an exchange with %s broke off: %s", _caller(request), type(error).__name__)

    async def _answer(self, request: Request) -> Response:
        # 1. What is it, by the bytes that were sent?
        method, raw_path = request.method, request.scope["raw_path"]
        fleet = FLEET_PATH.fullmatch(raw_path) if method == "POST" else None
        health = (method, raw_path) == ("GET", b"/health")
        if not (fleet or health) or request.scope["query_string"]:
            log.warning("refused %.20s %.80r from %s", method, raw_path, _caller(request))
            return PlainTextResponse("Not found.\n", 404)

        # 2. Is its body of a known, bearable size?
        if fleet:
            length = request.headers.get("content-length", "")
            if not length.isdecimal() or "transfer-encoding" in request.headers:
                return PlainTextResponse("Say content-length.\n", 411)
            if int(length) > LARGEST_BODY:
                return PlainTextResponse(f"At most {LARGEST_BODY} bytes.\n", 413)

        # 3. Forward it.
        forwarded = httpx.Request(
            method,
            self._superlink + (f"/v1/fleet/{fleet[1].decode()}" if fleet else "/health"),
            headers=_passing(request.headers.raw, _TO_SUPERLINK) if fleet else None,
            content=request.stream() if fleet else None,
            extensions={"timeout": httpx.Timeout(LONGEST_EXCHANGE_S, connect=5).as_dict()},
        )
        try:
            answer = await self._transport.handle_async_request(forwarded)
        except httpx.TransportError as error:
            log.warning("the SuperLink does not answer: %s", type(error).__name__)
            return PlainTextResponse("The SuperLink does not answer.\n", 503)
        response = StreamingResponse(_body_of(answer), answer.status_code)
        response.raw_headers = _passing(answer.headers.raw, _TO_CALLER)
        return response


async def _body_of(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_raw():
            yield part
    finally:
        await answer.aclose()


def _passing(headers: _Headers, names: set[bytes]) -> list[tuple[bytes, bytes]]:
    return [
        (name, value)
        for name, value in headers
        if name.lower() in names or name.lower().startswith(_FLOWERS)
    ]


def _caller(request: Request) -> str:
    return request.client.host if request.client else "somebody"


def open_gate(listen: str, superlink: str, keys: Path) -> tuple[uvicorn.Server, socket.socket]:
    """The server and what it is to listen on, bound already.

    Raises SettingsError where a key is missing or the port is taken.
    """
    split_address(superlink, setting="--superlink")
    host, port = split_address(listen, setting="cloud.fleet")
    try:
        gate = FleetGate(superlink, ssl.create_default_context(cafile=keys / CA_CRT))
        config = uvicorn.Config(
            gate,
            http="h11",  # the strict one; it hands the request line on as it came
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_graceful_shutdown=5,
            ssl_certfile=keys / SERVER_CRT,
            ssl_keyfile=keys / SERVER_KEY,
        )
        config.load()
    except OSError as error:  # also what ssl raises
        raise SettingsError(
            f"The keys in {keys} cannot be used ({error.strerror or error}). "
            "Make them with ./run.sh keys."
        ) from None
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise SettingsError(
            f"cloud.fleet {listen!r} cannot be listened on ({error.strerror}): something else "
            "does already, or this host has no such address."
        ) from None
    return uvicorn.Server(config), listening


def main(
    listen: Annotated[str, typer.Option(help="host:port for SuperNodes.")],
    superlink: Annotated[str, typer.Option(help="host:port of the SuperLink, on this host.")],
    keys: Annotated[Path, typer.Option(help="Folder of the cloud's keys.")],
) -> None:
    """Let SuperNodes on other hosts reach the SuperLink's Fleet API, and nothing else of it."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.WARNING)
    try:
        server, listening = open_gate(listen, superlink, keys)
    except NetGPTError as error:
        typer.echo(f"{error}", err=True)
        sys.exit(1)
    host, port = listening.getsockname()[:2]
    print(f"fleet gate on {join_address(host, port)}", flush=True)
    server.run(sockets=[listening])


if __name__ == "__main__":
    typer.run(main)
