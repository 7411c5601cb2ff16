"""The JSON objects that answer a call: whole, or chunk by chunk as server-sent events."""

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

from fl.generation import Reply
from fl.openai_api.backend import Model
from fl.openai_api.calls import CHAT, Call

DONE = b"data: [DONE]\n\n"
_CREATED = int(time.time())  # of models: when this process began


def models_list(models: list[dict[str, Any]]) -> dict[str, Any]:
    """The body of /v1/models."""
    return {"object": "list", "data": models}


def model_object(model: Model) -> dict[str, Any]:
    """One model."""
    return {
        "id": model.id,
        "object": "model",
        "created": _CREATED,
        "owned_by": model.owned_by,
        "netgpt": dict(model.extension),
    }


def event(data: Mapping[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


class Replies:
    """The objects of one call; they share id, time and model."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._chat = call.kind == CHAT
        self._head = {
            "id": f"{'chatcmpl' if self._chat else 'cmpl'}-{uuid.uuid4().hex}",
            "created": int(time.time()),
            "model": call.model,
        }

    def whole(self, text: str, reply: Reply, extension: Mapping[str, object]) -> dict[str, Any]:
        """The answer to a call without stream."""
        message: dict[str, Any] = {"text": text}
        if self._chat:
            message = {"message": {"role": "assistant", "content": text, "refusal": None}}
        choice = {"index": 0, **message, "logprobs": None, "finish_reason": _reason(reply)}
        return {
            **self._head,
            "object": "chat.completion" if self._chat else "text_completion",
            "system_fingerprint": _fingerprint(reply),
            "choices": [choice],
            "usage": _usage(reply),
            **_under_netgpt(extension),
        }

    def begin(self, extension: Mapping[str, object]) -> dict[str, Any]:
        """The first chunk."""
        return self._chunk({"role": "assistant", "content": ""}, "", None, extension)

    def piece(self, text: str) -> dict[str, Any]:
        """A chunk of text."""
        return self._chunk({"content": text}, text, None, {})

    def aside(self, extension: Mapping[str, object]) -> dict[str, Any]:
        """A chunk that carries nothing but what is under netgpt."""
        return self._chunk({}, "", None, extension)

    def end(self, reply: Reply, extension: Mapping[str, object]) -> dict[str, Any]:
        """The chunk that says why the answer ends."""
        return self._chunk({}, "", _reason(reply), extension)

    def usage(self, reply: Reply) -> dict[str, Any]:
        """The chunk after the last, for stream_options.include_usage."""
        return {**self._chunk({}, "", None, {}), "choices": [], "usage": _usage(reply)}

    def _chunk(
        self,
        delta: Mapping[str, Any],
        text: str,
        reason: str | None,
        extension: Mapping[str, object],
    ) -> dict[str, Any]:
        content = {"delta": delta} if self._chat else {"text": text}
        choice = {"index": 0, **content, "logprobs": None, "finish_reason": reason}
        return {
            **self._head,
            "object": "chat.completion.chunk" if self._chat else "text_completion",
            "choices": [choice],
            **_under_netgpt(extension),
        }


def _under_netgpt(extension: Mapping[str, object]) -> dict[str, Any]:
    return {"netgpt": dict(extension)} if extension else {}


def _usage(reply: Reply) -> dict[str, int]:
    return {
        "prompt_tokens": reply.prompt_tokens,
        "completion_tokens": reply.completion_tokens,
        "total_tokens": reply.prompt_tokens + reply.completion_tokens,
    }


def _reason(reply: Reply) -> str:
    """OpenAI knows no `cancelled`; who gets to see one was cut off."""
    return reply.finish_reason if reply.finish_reason in ("stop", "length") else "length"


def _fingerprint(reply: Reply) -> str:
    return f"{reply.model_fingerprint[:12]}-{reply.release}"
