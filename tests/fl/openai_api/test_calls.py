"""Bodies: what is understood, what is refused by its name, and that no text is quoted."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.generation import Turn
from fl.openai_api.calls import CHAT, TEXT, Call, call_from_body
from fl.openai_api.errors import ApiError

CANARY = "the orchard behind the chapel"
USER = {"role": "user", "content": CANARY}


def chat(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [USER], **fields}).encode()


def test_a_whole_chat_body() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "te"}, {"text": "a?"}]},
        {"role": "assistant", "content": "At the quay."},
        {"role": "user", "content": "and cake"},
    ]
    call = call_from_body(
        CHAT,
        chat(
            messages=messages,
            max_completion_tokens=7,
            max_tokens=9,
            temperature=0.5,
            top_p=0.9,
            seed=-3,
            stop=["\n", "END"],
            stream=True,
            stream_options={"include_usage": True},
            user="somebody",
            deadline_s=1.5,
            n=1,
            presence_penalty=0.0,
            response_format={"type": "text"},
        ),
    )
    assert call == Call(
        kind=CHAT,
        model="m",
        prompt="and cake",
        history=(
            Turn(role="system", content="Be brief."),
            Turn(role="user", content="tea?"),
            Turn(role="assistant", content="At the quay."),
        ),
        max_new_tokens=7,
        temperature=0.5,
        top_p=0.9,
        seed=-3,
        stop=("\n", "END"),
        stream=True,
        include_usage=True,
        person="somebody",
        deadline_s=1.5,
    )
    assert "somebody" not in repr(call)
    assert "cake" not in repr(call)


def test_what_openai_takes_for_granted() -> None:
    first, second = (call_from_body(CHAT, chat()) for _ in range(2))
    assert (first.temperature, first.top_p, first.max_new_tokens) == (1.0, 1.0, None)
    assert (first.stop, first.stream, first.include_usage) == ((), False, False)
    assert first.seed != second.seed  # drawn
    text = call_from_body(TEXT, json.dumps({"model": "m", "prompt": ["x"]}).encode())
    assert (text.prompt, text.history) == ("x", ())


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"logit_bias": {"5": 1}}, "logit_bias"),
        ({"frequency_penalty": 0.1}, "frequency_penalty"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"model": ""}, "model"),
        ({"model": 3}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "user", "content": "  "}]}, "messages"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0]"),
        ({"messages": [{"role": ["user"], "content": "x"}]}, "messages[0]"),
        ({"messages": [USER, {"role": "user", "content": None}]}, "messages[1].content"),
        ({"messages": [{"role": "user", "content": [{"image_url": "x"}]}]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "messages[0].content"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"max_tokens": 2**31}, "max_tokens"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"max_tokens": True}, "max_tokens"),
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"temperature": float("inf")}, "temperature"),
        ({"temperature": "0"}, "temperature"),
        ({"temperature": 10**400}, "temperature"),
        ({"top_p": 0}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_p": -(10**400)}, "top_p"),
        ({"seed": 2**63}, "seed"),
        ({"stop": [""]}, "stop"),
        ({"stop": ["x"] * 9}, "stop"),
        ({"stop": 3}, "stop"),
        ({"deadline_s": -1}, "deadline_s"),
        ({"deadline_s": "soon"}, "deadline_s"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
    ],
)
def test_a_bad_field_is_named_and_nothing_quoted(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ApiError) as refused:
        call_from_body(CHAT, chat(**fields))
    error = refused.value
    assert (error.http_status, error.param) == (400, param)
    assert CANARY not in str(error)


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff\xfe", b'{"a":' * 100_000, b"null"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(ApiError, match="The body must be"):
        call_from_body(CHAT, body)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["role", "content", "text", "type", "model", "include_usage"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=6,
    ),
    st.sampled_from(
        ["messages", "model", "stop", "stream", "stream_options", "max_tokens", "top_p", "n"]
    ),
)
def test_any_json_is_a_call_or_a_refusal(value: Any, name: str) -> None:
    for kind in (CHAT, TEXT):
        body = json.dumps({"model": "m", "messages": [USER], "prompt": "x", name: value}).encode()
        with contextlib.suppress(ApiError):  # anything else fails
            assert call_from_body(kind, body).prompt.strip()
