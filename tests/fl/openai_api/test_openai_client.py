"""What the official `openai` client gets to see of refusals and of streams that fail."""

from typing import Any

import httpx
import openai
import pytest

from fl.errors import GenerationError
from fl.generation import TextPiece
from fl.openai_api.api_keys import ApiKeys
from fl.openai_api.backend import Extension
from tests.fl.openai_api.test_gateway import BODY, CANARY, KEY, REPLY, Scripted, Served, served

MESSAGES: Any = BODY["messages"]
DOWN = GenerationError("The cloud does not answer.", status="UNAVAILABLE")


def client(service: Served, key: str = KEY) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{service.listener.url}/v1", api_key=key, max_retries=0)


def read(service: Served) -> tuple[list[object], openai.APIError]:
    """What is under netgpt in the chunks of a stream that fails, and the error."""
    seen: list[object] = []
    stream: Any = client(service).chat.completions.create(model="m", messages=MESSAGES, stream=True)
    with pytest.raises(openai.APIError) as failed:
        seen.extend((chunk.model_extra or {}).get("netgpt") for chunk in stream)
    return seen, failed.value


def test_what_is_known_comes_in_a_chunk_before_the_error() -> None:
    """The client reads nothing that stands beside "error"."""
    enriched, sent = {"enriched_prompt": CANARY}, {"bytes_up": 9}
    with served(Scripted(Extension(fields=enriched), DOWN)) as service:
        seen, error = read(service)
        assert (seen, error.code) == ([enriched], "unavailable")
    script = (Extension(fields=enriched), TextPiece(text="a"), Extension(fields=sent), DOWN)
    with served(Scripted(*script)) as service:
        assert read(service)[0] == [enriched, None, {**enriched, **sent}]


def test_an_extension_that_changes_is_told_again() -> None:
    script = (Extension(fields={"n": 1}), TextPiece(text="a"), Extension(fields={"n": 2}), REPLY)
    with served(Scripted(*script)) as service:
        chunks = service.chunks()
    assert [chunk.get("netgpt") for chunk in chunks[:-1]] == [{"n": 1}, None, {"n": 2}]


def test_an_unknown_model_has_openais_code_and_is_counted() -> None:
    with served(Scripted(REPLY)) as service:
        for ask in (
            lambda: client(service).chat.completions.create(model=CANARY, messages=MESSAGES),
            lambda: client(service).models.retrieve("other"),
        ):
            with pytest.raises(openai.NotFoundError) as refused:
                ask()
            assert (refused.value.code, refused.value.param) == ("model_not_found", "model")
            assert CANARY not in str(refused.value)
        figures = httpx.get(f"{service.listener.url}/metrics").text
    assert 'netgpt_test_refusals_total{reason="not_found"} 1.0' in figures  # of the call


def test_a_key_used_too_often_hears_when_it_may_again() -> None:
    with served(Scripted(TextPiece(text="a"), REPLY), ApiKeys({"anna": (KEY, 2)})) as service:
        for _ in range(2):
            client(service).chat.completions.create(model="m", messages=MESSAGES)
        with pytest.raises(openai.RateLimitError, match="2 requests a minute") as refused:
            client(service).chat.completions.create(model="m", messages=MESSAGES)
    # Half a minute earns one request; what has gone by since the first is less than ten seconds.
    assert 20 <= int(refused.value.response.headers["retry-after"]) <= 30
