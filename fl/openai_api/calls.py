"""What a body of /v1/chat/completions or /v1/completions asks for, checked.

What would change the answer and is not done here is refused by its name; what would not is ignored.
No error quotes a text of the body.
"""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fl.generation import Turn
from fl.openai_api.errors import ApiError
from fl.wire.codec import INT32_MAX, INT64_MAX, LONGEST_STOP, MOST_STOPS

CHAT, TEXT = "chat", "text"
LONGEST_DEADLINE_S = 86_400.0

# Field -> the values that ask for nothing special; any other is refused.
_NOT_DONE: dict[str, tuple[object, ...]] = {
    "n": (1,),
    "best_of": (1,),
    "logprobs": (False, 0),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "frequency_penalty": (0,),
    "echo": (False,),
    "suffix": ("",),
    "tools": ([],),
    "tool_choice": ("none", "auto"),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "audio": (),
    "prediction": (),
    "web_search_options": (),
}
_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}


@dataclass(frozen=True, kw_only=True)
class Call:
    """One validated body."""

    kind: str  # chat | text
    model: str
    prompt: str = field(repr=False)  # the last user message, or the prompt of a text completion
    history: tuple[Turn, ...] = field(repr=False)  # the messages before it
    max_new_tokens: int | None  # None: as many as fit
    temperature: float
    top_p: float
    seed: int  # drawn where the body has none
    stop: tuple[str, ...] = field(repr=False)
    stream: bool
    include_usage: bool
    person: str = field(
        default="", repr=False
    )  # OpenAI's `user`: whom a site may know; "" for none
    deadline_s: float | None = None  # not OpenAI's: seconds a site's request has; 0 for no bound


def call_from_body(kind: str, body: bytes) -> Call:
    """Read a body of `kind` chat or text. Raises ApiError (400) that names the field."""
    fields = _object(body)
    for name, nothing in _NOT_DONE.items():
        value = fields.get(name)
        if value is not None and value not in nothing:
            raise ApiError(f"{name} is not supported here; leave it out.", param=name)
    if kind == CHAT:
        history, prompt = _messages(fields)
    else:
        history, prompt = (), _prompt(fields)
    stream = _flag(fields, "stream")
    options = fields.get("stream_options") or {}
    if not isinstance(options, dict):
        raise ApiError("stream_options must be an object.", param="stream_options")
    if options and not stream:
        raise ApiError("stream_options is for stream=true only.", param="stream_options")
    seed = _whole(fields, "seed", lowest=-INT64_MAX - 1, highest=INT64_MAX)
    return Call(
        kind=kind,
        model=_model(fields),
        prompt=prompt,
        history=history,
        max_new_tokens=_most_new(fields),
        temperature=_number(fields, "temperature", default=1.0, lowest=0.0, highest=2.0),
        top_p=_top_p(fields),
        seed=random.getrandbits(62) if seed is None else seed,
        stop=_stop(fields),
        stream=stream,
        include_usage=_flag(options, "include_usage"),
        person=_text(fields.get("user") or "", "user"),
        deadline_s=_deadline(fields),
    )


def _object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body.decode("utf-8"))
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise ApiError("The body must be JSON in UTF-8.") from None
    if not isinstance(found, dict):
        raise ApiError("The body must be a JSON object.")
    return found


def _model(fields: Mapping[str, Any]) -> str:
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise ApiError("model must be a name; /v1/models lists them.", param="model")
    return model


def _messages(fields: Mapping[str, Any]) -> tuple[tuple[Turn, ...], str]:
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        raise ApiError("messages must be a list with a message.", param="messages")
    turns = [_turn(message, f"messages[{at}]") for at, message in enumerate(messages)]
    if turns[-1].role != "user":
        raise ApiError("The last message must be the user's.", param="messages")
    if not turns[-1].content.strip():
        raise ApiError("The last message must not be empty.", param="messages")
    return tuple(turns[:-1]), turns[-1].content


def _turn(message: object, where: str) -> Turn:
    role = message.get("role") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(role, str) or role not in _ROLES:
        raise ApiError(
            f"{where} must be an object whose role is system, user or assistant.", param=where
        )
    content = message.get("content")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else None for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        if len(texts) < len(parts):
            raise ApiError(f"{where}.content may hold parts of text only.", param=where)
        content = "".join(texts)
    return Turn(role=_ROLES[role], content=_text(content, f"{where}.content"))


def _prompt(fields: Mapping[str, Any]) -> str:
    prompt = fields.get("prompt")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    text = _text(prompt, "prompt")
    if not text.strip():
        raise ApiError("prompt must not be empty.", param="prompt")
    return text


def _text(value: object, name: str) -> str:
    if not isinstance(value, str):
        raise ApiError(f"{name} must be one text.", param=name)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ApiError(
            f"{name} must be valid Unicode (it holds lone surrogates).", param=name
        ) from None
    return value


def _most_new(fields: Mapping[str, Any]) -> int | None:
    names = ("max_completion_tokens", "max_tokens")
    found = [_whole(fields, name, lowest=1, highest=INT32_MAX) for name in names]
    return found[0] if found[0] is not None else found[1]


def _stop(fields: Mapping[str, Any]) -> tuple[str, ...]:
    stop = fields.get("stop")
    if stop is None:
        return ()
    stops = [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MOST_STOPS:
        raise ApiError(f"stop must be a text or a list of at most {MOST_STOPS}.", param="stop")
    texts = tuple(_text(each, "stop") for each in stops)
    if not all(1 <= len(text) <= LONGEST_STOP for text in texts):
        raise ApiError(f"A stop text has 1 to {LONGEST_STOP} characters.", param="stop")
    return texts


def _top_p(fields: Mapping[str, Any]) -> float:
    top_p = _number(fields, "top_p", default=1.0, lowest=0.0, highest=1.0)
    if top_p == 0:
        raise ApiError("top_p must be above 0.", param="top_p")
    return top_p


def _number(
    fields: Mapping[str, Any], name: str, *, default: float, lowest: float, highest: float
) -> float:
    value = fields.get(name)
    if value is None:
        return default
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not lowest <= value <= highest:  # which NaN is not either
        raise ApiError(f"{name} must be a number from {lowest:g} to {highest:g}.", param=name)
    return float(value)


def _deadline(fields: Mapping[str, Any]) -> float | None:
    if fields.get("deadline_s") is None:
        return None
    return _number(fields, "deadline_s", default=0.0, lowest=0.0, highest=LONGEST_DEADLINE_S)


def _whole(fields: Mapping[str, Any], name: str, *, lowest: int, highest: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise ApiError(f"{name} must be a whole number from {lowest} to {highest}.", param=name)
    return value


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if value is None:
        return False
    if not isinstance(value, bool):
        raise ApiError(f"{name} must be true or false.", param=name)
    return value
