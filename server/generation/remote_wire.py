"""What is said to an OpenAI-compatible server, and how its answers and refusals are read.

Nothing that it writes but the answer itself goes on from here: an error of its own may quote the
prompt.
"""

import json
from collections.abc import AsyncGenerator, AsyncIterable
from dataclasses import dataclass, field
from typing import Any

from fl.errors import GenerationError
from fl.generation import GenerationRequest
from fl.prompt_format import conversation

PATHS = {"completions": "completions", "chat": "chat/completions"}  # below engine.url
DONE = b"[DONE]"
LONGEST_LINE = 2**20  # bytes of one event

# These servers take sampling fields that OpenAI's own refuses, and sample differently without them
# (llama-cpp-python: a repetition penalty of 1.1, also when it is greedy). By `owned_by` of their
# model lists: vLLM, SGLang, llama.cpp, llama-cpp-python.
_TAKES_MORE = ("vllm", "sglang", "llamacpp", "me")
_PLAIN_SAMPLING = {"top_k": 2**30, "min_p": 0.0, "repeat_penalty": 1.0, "repetition_penalty": 1.0}


class UpstreamFault(Exception):
    """A server that refused, failed or sent what cannot be read."""

    def __init__(self, found: str, error: GenerationError) -> None:
        """`found` is for the operator's log, empty where it is the caller's fault."""
        super().__init__(found)
        self.found, self.error = found, error


@dataclass(frozen=True, kw_only=True)
class UpstreamModel:
    """A model as a server lists it."""

    name: str
    takes_more: bool  # than OpenAI's fields


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """One event of an answer. What it does not say is None."""

    text: str = field(repr=False)
    finish_reason: str | None  # stop | length
    prompt_tokens: int | None
    completion_tokens: int | None


def read_models(body: bytes) -> list[UpstreamModel]:
    """The models of a `GET /models`. Raises ValueError where it is no such list."""
    try:
        entries = json.loads(body)["data"]
        return [
            UpstreamModel(name=str(e["id"]), takes_more=e.get("owned_by") in _TAKES_MORE)
            for e in entries
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError("no list of models") from error


def request_body(
    request: GenerationRequest, *, api: str, model: UpstreamModel, max_tokens: int
) -> dict[str, Any]:
    """The body of a streaming call. Raises GenerationError (INVALID_ARGUMENT) for what it cannot.

    The seed is folded to 31 bits: some servers take no more, and -1 means a random one to them.
    """
    body: dict[str, Any] = {
        "model": model.name,
        "max_tokens": max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed % 2**31,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if request.stop:
        body["stop"] = list(request.stop)
    if model.takes_more:
        body |= _PLAIN_SAMPLING
    if api == "completions":
        plain = request.prompt if request.plain else conversation(request.history, request.prompt)
        return body | {"prompt": plain}
    if request.plain:
        raise GenerationError(
            "This cloud answers messages only; it cannot continue a text. Ask for a chat.",
            status="INVALID_ARGUMENT",
        )
    turns = [(turn.role, turn.content) for turn in request.history] + [("user", request.prompt)]
    return body | {"messages": [{"role": role, "content": content} for role, content in turns]}


async def events(parts: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """What stands in the data lines of a stream of server-sent events, [DONE] included."""
    rest = b""
    async for part in parts:
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise unreadable("an event without an end")
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip()


def read_chunk(payload: bytes, api: str) -> Chunk:
    """One event. Raises UpstreamFault for an error in its place and for what cannot be read."""
    try:
        said = json.loads(payload)
        if failed := said.get("error"):  # after the status said 200
            code = failed.get("code") if isinstance(failed, dict) else None
            raise refusal(code if isinstance(code, int) else 500)
        choice = said["choices"][0] if said["choices"] else {}
        written = choice.get("text") if api == "completions" else choice.get("delta", {})
        text = written.get("content") if isinstance(written, dict) else written
        usage = said.get("usage") or {}
        return Chunk(
            text=_text(text),
            finish_reason=_finish_reason(choice.get("finish_reason")),
            prompt_tokens=_count(usage.get("prompt_tokens")),
            completion_tokens=_count(usage.get("completion_tokens")),
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
        raise unreadable("an event that is not of its API") from None


def _text(text: Any) -> str:
    if text is not None and not isinstance(text, str):
        raise TypeError
    (text or "").encode()  # ValueError for lone surrogates, which no client could be sent
    return text or ""


def _count(tokens: Any) -> int | None:
    if tokens is not None and not (isinstance(tokens, int) and 0 <= tokens < 2**31):
        raise TypeError
    return tokens


def _finish_reason(reason: Any) -> str | None:
    if reason in ("abort", "error"):  # vLLM and SGLang when they are stopped
        raise broken_off("it gave the answer up")
    # whatever else ends an answer (eos_token, content_filter) is the server's own doing
    return reason if reason in (None, "length") else "stop"


def refusal(http_status: int) -> UpstreamFault:
    """What an answer other than 200 means, for the caller and for the operator."""
    found = f"HTTP {http_status}"
    if http_status in (400, 413, 422):
        return UpstreamFault(
            "",
            GenerationError(
                "Refused by the cloud's engine: most likely prompt and answer together are longer "
                "than its model allows.",
                status="INVALID_ARGUMENT",
            ),
        )
    if http_status == 404:
        error = GenerationError("The cloud's engine has no such model now.", status="NOT_FOUND")
        return UpstreamFault(f"{found}: it has no such model or API (engine.model, .api)", error)
    if http_status == 429:
        error = GenerationError(
            "The cloud's engine is busy. Try again later.", status="RESOURCE_EXHAUSTED"
        )
        return UpstreamFault("", error)
    if http_status in (401, 403):
        found += ": the engine refused our key (NETGPT_ENGINE_KEY)"
    return UpstreamFault(found, unavailable())


def broken_off(found: str) -> UpstreamFault:
    """An answer that ended before its end."""
    error = GenerationError("The cloud's engine broke off. Try again.", status="UNAVAILABLE")
    return UpstreamFault(f"an answer broke off: {found}", error)


def unreadable(found: str) -> UpstreamFault:
    """An answer that is not of the API it is said to be."""
    error = GenerationError("The cloud's engine sent what cannot be read.", status="DATA_LOSS")
    return UpstreamFault(f"it sent {found}", error)


def unavailable() -> GenerationError:
    """It cannot be reached, or failed, or is not ours to use."""
    return GenerationError(
        "The cloud's engine is not available. Try again later.", status="UNAVAILABLE"
    )
