"""The gateway over real HTTP with a scripted backend: streams, errors, leaving callers, binding."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from fl.errors import GenerationError, SettingsError
from fl.generation import Reply, TextPiece
from fl.openai_api.api_keys import ApiKeys
from fl.openai_api.backend import ApiEvent, Extension, Model, no_such_model
from fl.openai_api.calls import Call
from fl.openai_api.gateway import Gateway
from fl.openai_api.listener import HttpListener
from fl.service_metrics import ServiceMetrics

CANARY = "the orchard behind the chapel"
KEY = "sk-anna-0123456789"
REPLY = Reply(
    text="yes",
    finish_reason="stop",
    prompt_tokens=3,
    completion_tokens=2,
    queue_seconds=0,
    prefill_seconds=0,
    decode_seconds=0,
    model_fingerprint="ab" * 32,
)
BODY = {"model": "m", "messages": [{"role": "user", "content": CANARY}]}


class Scripted:
    """A backend that does what the test says."""

    def __init__(self, *script: ApiEvent | Exception | float) -> None:
        self.script: Sequence[ApiEvent | Exception | float] = script
        self.cancelled = threading.Event()
        self.calls: list[Call] = []

    def models(self) -> Sequence[Model]:
        return [Model(id="m", owned_by="us", extension={"release": 3})]

    async def open(self, call: Call) -> "Scripted":
        self.calls.append(call)
        if call.model != "m":
            raise no_such_model(call.model, self.models())
        if self.script and isinstance(self.script[0], Exception):
            raise self.script[0]
        return self

    async def __aiter__(self) -> AsyncIterator[ApiEvent]:
        for item in self.script:
            if isinstance(item, float):  # seconds, or until the caller is gone
                until = time.monotonic() + item
                while time.monotonic() < until and not self.cancelled.is_set():
                    await asyncio.sleep(0.01)
            elif isinstance(item, GenerationError) or not isinstance(item, Exception):
                yield item
            else:
                raise item

    def cancel(self) -> None:
        self.cancelled.set()


class Served:
    """A running gateway."""

    def __init__(self, backend: Scripted, keys: ApiKeys) -> None:
        self.errors: list[tuple[str, str, str]] = []
        self.metrics = ServiceMetrics("test")
        self.gateway = Gateway(
            backend,
            keys=keys,
            metrics=self.metrics,
            largest_body=10_000,
            on_error=lambda *error: self.errors.append(error),
        )
        self.listener = HttpListener(
            "127.0.0.1:0", setting="x.http", certificates=None, has_keys=False, insecure=False
        )
        self.listener.start(self.gateway)
        self.gateway.ready = True
        self.http = httpx.Client(base_url=self.listener.url, timeout=30)

    def post(self, path: str = "/v1/chat/completions", **fields: Any) -> httpx.Response:
        return self.http.post(path, json={**BODY, **fields})

    def chunks(self, **fields: Any) -> list[Any]:
        """The events of a stream, the last being [DONE] as text."""
        lines = self.post(stream=True, **fields).text.split("\n\n")
        assert lines.pop() == ""
        assert all(line.startswith("data: ") for line in lines)
        data = [line.removeprefix("data: ") for line in lines]
        return [item if item == "[DONE]" else json.loads(item) for item in data]


@contextmanager
def served(backend: Scripted, keys: ApiKeys | None = None) -> Iterator[Served]:
    service = Served(backend, keys or ApiKeys({}))
    try:
        yield service
    finally:
        service.http.close()
        service.listener.stop()


def test_a_stream_is_chunks_usage_and_done() -> None:
    backend = Scripted(
        Extension(fields={"release": 3}),
        TextPiece(text="né"),
        TextPiece(text="s"),
        Extension(fields={"bytes_up": 9}),
        REPLY,
    )
    with served(backend) as service:
        chunks = service.chunks(stream_options={"include_usage": True})
        text = service.http.post(
            "/v1/completions", json={"model": "m", "prompt": "x", "stream": True}
        ).text

    assert chunks[-1] == "[DONE]"
    assert {chunk["id"] for chunk in chunks[:-1]} == {chunks[0]["id"]}
    assert chunks[0]["id"].startswith("chatcmpl-")
    assert [chunk["choices"] for chunk in chunks[:-1]] == [
        *(
            [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}]
            for delta, reason in (
                ({"role": "assistant", "content": ""}, None),
                ({"content": "né"}, None),
                ({"content": "s"}, None),
                ({}, "stop"),
            )
        ),
        [],
    ]
    assert chunks[0]["netgpt"] == {"release": 3}
    assert chunks[3]["netgpt"] == {"release": 3, "bytes_up": 9}
    assert chunks[4]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert '"text": "né"' in text
    assert '"object": "text_completion"' in text


def test_what_is_known_is_told_before_the_first_text() -> None:
    backend = Scripted(Extension(fields={"enriched_prompt": "x"}), 30.0, REPLY)
    with (
        served(backend) as service,
        service.http.stream(
            "POST", "/v1/chat/completions", json={**BODY, "stream": True}
        ) as answer,
    ):
        assert '"enriched_prompt": "x"' in next(answer.iter_lines())


def test_a_whole_answer() -> None:
    backend = Scripted(Extension(fields={"release": 3}), TextPiece(text="yes"), REPLY)
    with served(backend) as service:
        body = service.post().json()
        models = service.http.get("/v1/models").json()["data"]
        model = service.http.get("/v1/models/m").json()

    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["content"] == "yes"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["total_tokens"] == 5
    assert body["netgpt"] == {"release": 3}
    assert body["system_fingerprint"] == "abababababab-base"
    assert models == [model]
    assert (model["id"], model["netgpt"]) == ("m", {"release": 3})


@pytest.mark.parametrize(
    ("status", "http"),
    [
        ("INVALID_ARGUMENT", 400),
        ("FAILED_PRECONDITION", 400),
        ("UNAUTHENTICATED", 401),
        ("PERMISSION_DENIED", 403),
        ("NOT_FOUND", 404),
        ("RESOURCE_EXHAUSTED", 429),
        ("UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
        ("INTERNAL", 500),
    ],
)
def test_errors_before_and_after_the_first_event(status: str, http: int) -> None:
    error = GenerationError("what to do", status=status)
    known = Extension(fields={"enriched_prompt": "x"})
    with served(Scripted(error)) as service:
        refused = service.post(stream=True)
    with served(Scripted(known, TextPiece(text="a"), error)) as service:
        whole, chunks = service.post(), service.chunks()

    assert refused.status_code == whole.status_code == http
    assert refused.json()["error"]["message"] == "what to do"
    assert refused.json()["error"]["code"] == status.lower()
    assert (refused.headers.get("retry-after") is not None) is (http in (429, 503))
    assert whole.json()["netgpt"] == chunks[-2]["netgpt"] == {"enriched_prompt": "x"}
    assert chunks[-2]["error"]["code"] == status.lower()
    assert chunks[-1] == "[DONE]"


@pytest.mark.parametrize("stream", [False, True])
def test_an_unforeseen_error_has_an_id_and_no_text(stream: bool) -> None:
    for script in ((KeyError(CANARY),), (TextPiece(text="a"), KeyError(CANARY))):
        with served(Scripted(*script)) as service:
            text = service.post(stream=stream).text
            [(error_id, kind, frames)] = service.errors
        assert error_id in text
        assert kind == "KeyError"
        assert CANARY not in text + frames


@pytest.mark.parametrize("stream", [False, True])
def test_a_caller_who_leaves_gives_the_call_up(stream: bool) -> None:
    backend = Scripted(TextPiece(text="begun"), 30.0, REPLY)
    with served(backend) as service:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(
                service.listener.url + "/v1/chat/completions",
                json={**BODY, "stream": stream},
                timeout=httpx.Timeout(30, read=0.5),
            )
        assert backend.cancelled.wait(10)
        while service.gateway.running:
            time.sleep(0.01)


def test_what_is_refused_before_the_backend() -> None:
    with served(Scripted(REPLY), ApiKeys({"anna": (KEY, 0)})) as service:
        post: Callable[..., httpx.Response] = service.http.post
        path, key = "/v1/chat/completions", {"authorization": f"Bearer {KEY}"}
        codes = [
            post(path, json=BODY).status_code,
            post(path, content=json.dumps(BODY), headers=key).status_code,  # no JSON, it says
            post(path, json={**BODY, "user": "x" * 10_000}, headers=key).status_code,
            post(path, json={**BODY, "n": 2}, headers=key).status_code,
            post(path, json={**BODY, "model": "other"}, headers=key).status_code,
            service.http.get("/v1/models").status_code,
            service.http.get("/nowhere", headers=key).status_code,
            service.http.get(path, headers=key).status_code,
            post(path, json=BODY, headers=key).status_code,
            service.http.get("/health").status_code,
        ]
        figures = service.http.get("/metrics").text
        service.gateway.ready = False
        late = [
            post(path, json=BODY, headers=key).status_code,
            service.http.get("/health").status_code,
        ]

    assert codes == [401, 415, 413, 400, 404, 401, 404, 405, 200, 200]
    assert late == [503, 503]
    assert 'netgpt_test_refusals_total{reason="unauthenticated"} 1.0' in figures
    assert 'netgpt_test_refusals_total{reason="invalid_argument"} 3.0' in figures
    assert CANARY not in figures


def test_a_drain_waits_for_who_runs_and_no_longer() -> None:
    with served(Scripted(TextPiece(text="a"), 0.5, REPLY)) as service:
        bodies: list[str] = []
        asking = threading.Thread(target=lambda: bodies.append(service.post().text))
        asking.start()
        while not service.gateway.running:
            time.sleep(0.01)
        service.listener.drain(30)
        assert not service.gateway.running
        asking.join(10)
        assert '"stop"' in bodies[0]
    with served(Scripted(TextPiece(text="a"), 30.0, REPLY)) as service:
        hurry = threading.Event()
        asking = threading.Thread(target=lambda: _ignoring_the_end(service))
        asking.start()
        while not service.gateway.running:
            time.sleep(0.01)
        hurry.set()
        service.listener.drain(30, hurry)
        assert service.gateway.running
    asking.join(10)
    assert not asking.is_alive()


def _ignoring_the_end(service: Served) -> None:
    with pytest.raises(httpx.HTTPError):
        service.post()


@pytest.mark.parametrize(
    ("address", "has_keys", "insecure", "said"),
    [
        ("0.0.0.0:0", False, False, "needs API keys"),
        ("0.0.0.0:0", True, False, "and TLS"),
        ("0.0.0.0:0", False, True, ""),
        ("192.0.2.1:0", False, True, "cannot be listened on"),
        ("127.0.0.1:x", False, False, "host:port"),
    ],
)
def test_who_may_listen_where(address: str, has_keys: bool, insecure: bool, said: str) -> None:
    def listen() -> HttpListener:
        return HttpListener(
            address,
            setting="service.http",
            certificates=None,
            has_keys=has_keys,
            insecure=insecure,
        )

    if said:
        with pytest.raises(SettingsError, match=said):
            listen()
    else:
        listen().stop()
