"""One accepted request on its way through a server: the call, and the answer as it grows."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from time import perf_counter

import httpx

from fl.generation import GenerationRequest, Reply, TextPiece
from server.generation.engine import Deliver
from server.generation.remote_wire import (
    DONE,
    PATHS,
    Chunk,
    broken_off,
    events,
    read_chunk,
    refusal,
    unreadable,
)

FAREWELL_S = 0.2  # after [DONE], for the connection's next use
LONGEST_TOKEN = 64  # characters; hardly any token is longer


@dataclass(eq=False, kw_only=True, repr=False)  # no repr: a job holds a prompt
class RemoteJob:
    """One accepted request. Times are perf_counter seconds."""

    request: GenerationRequest
    body: dict[str, object]
    most_new: int  # tokens
    prompt_tokens_guess: int  # by its characters
    deliver: Deliver
    on_begin: Callable[["RemoteJob"], None]  # the answer begins
    submitted_at: float
    first_at: float = 0.0  # 0 until the answer begins
    task: asyncio.Task[str] | None = None
    cancelled: bool = False  # asked for
    pieces: list[str] = field(default_factory=list)
    characters: int = 0  # of the answer so far
    prompt_tokens: int = 0  # these two as the server counts them, where it does
    completion_tokens: int | None = None

    async def run(self, client: httpx.AsyncClient, url: str, api: str) -> str:
        """Have the server answer to the end of its stream; return the reason of the end.

        Raises UpstreamFault and httpx.HTTPError. Cancelling it closes the connection.
        """
        async with client.stream("POST", f"{url}/{PATHS[api]}", json=self.body) as response:
            if response.status_code != 200:
                raise refusal(response.status_code)
            if not response.headers.get("content-type", "").startswith("text/event-stream"):
                raise unreadable("something else than a stream of events")
            return await self._read(response, api)

    async def _read(self, response: httpx.Response, api: str) -> str:
        finish_reason = ""
        async with aclosing(events(response.aiter_bytes())) as payloads:
            async for payload in payloads:
                if payload == DONE:
                    break
                chunk = read_chunk(payload, api)
                self._take(chunk)
                finish_reason = chunk.finish_reason or finish_reason
            if not finish_reason:
                raise broken_off("no finish reason")
            with suppress(TimeoutError):  # the connection serves again once it is read to its end
                async with asyncio.timeout(FAREWELL_S):
                    async for _ in payloads:
                        pass
        return finish_reason

    def _take(self, chunk: Chunk) -> None:
        if not self.first_at:
            self.first_at = perf_counter()
            self.on_begin(self)
        if chunk.completion_tokens is not None:
            self.prompt_tokens = chunk.prompt_tokens or 0
            self.completion_tokens = chunk.completion_tokens
        text = chunk.text
        if not self.pieces and not self.request.plain:
            text = text.lstrip()  # the blank that prompt_format puts before an answer
        self.characters += len(text)
        if self.characters > LONGEST_TOKEN * (self.most_new + 1):
            raise unreadable("more than was asked for")  # it shall not fill our memory
        if text:
            self.pieces.append(text)
            self.deliver(TextPiece(text=text))

    def reply(self, finish_reason: str, fingerprint: str) -> Reply:
        """The end that is no error."""
        now = perf_counter()
        first_at = self.first_at or now
        counted = self.completion_tokens
        return Reply(
            text="".join(self.pieces),
            finish_reason=finish_reason,
            prompt_tokens=self.prompt_tokens,
            completion_tokens=len(self.pieces) if counted is None else counted,
            queue_seconds=0.0,
            prefill_seconds=first_at - self.submitted_at,
            decode_seconds=now - first_at,
            model_fingerprint=fingerprint,
        )
