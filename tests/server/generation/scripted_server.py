"""An OpenAI-compatible server that does what the prompt's last word says, and notes what it sees.

It speaks HTTP on a port of its own through uvicorn, so that a disconnect is a real one. A real
engine is put in its place by test_llama_cpp.py.
"""

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

CANARY = "a-secret-that-the-server-quotes"
WORDS = ("  A", " table", " for", " two", ".")
MODEL = "llama-of-theirs"


class ScriptedServer:
    """Its scripts: answer, no-usage, hold, silent, STATUS (a number), or a fault of `_events`."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.left = threading.Semaphore(0)  # released where a caller left before the end
        self.go_on = threading.Event()  # lets `hold` end
        self.models: Any = {"object": "list", "data": [{"id": MODEL, "owned_by": "vllm"}]}
        self.models_status = 200
        self.url = ""

    def app(self) -> Starlette:
        """As ASGI."""
        post = ["POST"]
        return Starlette(
            routes=[
                Route("/v1/models", self._models),
                Route("/v1/completions", self._answer, methods=post),
                Route("/v1/chat/completions", self._answer, methods=post),
            ]
        )

    async def _models(self, request: Request) -> Response:
        self.headers.append(dict(request.headers))
        return JSONResponse(self.models, self.models_status)

    async def _answer(self, request: Request) -> Response:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        chat = "messages" in body
        asked = body["messages"][-1]["content"] if chat else body["prompt"]
        script = asked.removesuffix("\nAnswer:").split()[-1]
        if script.isdecimal():
            return JSONResponse({"error": {"message": CANARY + asked}}, int(script))
        if script == "html":
            return Response(f"<p>{CANARY}{asked}</p>", media_type="text/html")
        if script == "silent":
            while not await request.is_disconnected():
                await asyncio.sleep(0.01)
            self.left.release()
            return Response(status_code=500)
        events = self._noting_who_leaves(self._events(script, chat=chat))
        return StreamingResponse(events, media_type="text/event-stream")

    async def _noting_who_leaves(self, events: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        try:
            async for event in events:
                yield event
        except (asyncio.CancelledError, GeneratorExit):
            self.left.release()
            raise

    async def _events(self, script: str, *, chat: bool) -> AsyncIterator[bytes]:
        faults = {
            "no-json": b"data: {" + CANARY.encode() + b"\n\n",
            "no-utf8": b'data: {"choices":[{"text":"\xff' + CANARY.encode() + b'"}]}\n\n',
            "surrogate": b'data: {"choices":[{"text":"\\ud800"}]}\n\n',
            "other-shape": b'data: [["' + CANARY.encode() + b'"]]\n\n',
            "text-is-number": b'data: {"choices":[{"text":7}]}\n\n',
            "deep": b"data: " + b"[" * 100_000 + b"\n\n",
            "error-event": b'data: {"error":{"message":"' + CANARY.encode() + b'"}}\n\n',
            "error-event-400": b'data: {"error":{"message":"'
            + CANARY.encode()
            + b'","code":400}}\n',
            "abort": _event("", "abort", chat=chat),
            "endless-line": b"data: " + b"x" * (2**20 + 1),
            "endless-text": _event("x" * 100_000, None, chat=chat),
            "done-too-early": b"data: [DONE]\n\n",
        }
        yield b": a comment, as servers send to keep a connection\n\n"
        yield _event(WORDS[0], None, chat=chat)
        if script in faults:
            yield faults[script]
        if script in faults or script == "breaks-off":
            return
        if script == "breaks":
            raise ConnectionError(CANARY)
        if script == "hold":
            while not self.go_on.is_set():
                await asyncio.sleep(0.01)
        for word in WORDS[1:]:
            yield _event(word, None, chat=chat)
        yield _event("", "length", chat=chat)
        if script != "no-usage":
            usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
            yield f"data: {json.dumps({'choices': [], 'usage': usage})}\r\n\r\n".encode()
        yield b"data: [DONE]\n\n"


def _event(text: str, finish_reason: str | None, *, chat: bool) -> bytes:
    written: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
    choice = {"index": 0, "finish_reason": finish_reason, **written}
    return f"data: {json.dumps({'choices': [choice], 'usage': None})}\n\n".encode()


@contextmanager
def running(server: ScriptedServer, port: int = 0) -> Iterator[int]:
    """Serve on a port of loopback, a free one for 0, until the block ends."""
    listener = socket.create_server(("127.0.0.1", port))
    port = listener.getsockname()[1]
    server.url = f"http://127.0.0.1:{port}/v1"
    config = uvicorn.Config(
        server.app(), log_level="critical", ws="none", timeout_graceful_shutdown=1
    )
    uvicorn_server = uvicorn.Server(config)
    thread = threading.Thread(target=uvicorn_server.run, args=([listener],), daemon=True)
    thread.start()
    try:
        yield port
    finally:
        uvicorn_server.should_exit = True
        thread.join(timeout=10)
        listener.close()
