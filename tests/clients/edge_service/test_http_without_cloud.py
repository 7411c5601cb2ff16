"""The site's HTTP API where the cloud is away, answers nothing, or dies in the middle."""

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.clients.edge_service.fake_cloud import PIECES, fake_cloud
from tests.clients.edge_service.openai_at_site import SHORT, asked, chat, streamed
from tests.clients.edge_service.tiny_service import TinySite, tiny_site


@pytest.fixture
def site(tmp_path: Path) -> TinySite:
    """Its cloud is nobody."""
    site = tiny_site(tmp_path)
    site.put_in_use(site.release(2))
    return site


def body_of(error: openai.APIStatusError) -> dict[str, Any]:
    found: dict[str, Any] = error.response.json()
    return found


def lines_of(site: TinySite, model: str = "netgpt") -> list[dict[str, Any]]:
    """The events of a stream as they are sent, without the last, [DONE]."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": SHORT}]}
    token = {"authorization": f"Bearer {site.service.token}"}
    url = f"{site.service.http}/chat/completions"
    text = httpx.post(url, json=body, headers=token, timeout=30).text
    *events, done = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert done == "[DONE]"
    return [json.loads(line) for line in events]


def test_there_is_the_enriched_prompt_and_a_typed_error(site: TinySite) -> None:
    with asked(site) as client:
        with pytest.raises(openai.InternalServerError, match="No cloud service answers") as failed:
            chat(client)
        assert failed.value.status_code == 503
        body = body_of(failed.value)
        assert body["error"]["code"] == "unavailable"
        written = chat(client, "netgpt-edge")  # goes on
        assert written.choices[0].message.content == body["netgpt"]["enriched_prompt"]
        assert body["netgpt"]["disclosed_prompt"]
        assert body["netgpt"]["release"] == 2
        assert body["netgpt"]["bytes_down"] == 0


def test_a_stream_tells_the_same(site: TinySite) -> None:
    with asked(site) as client:
        with pytest.raises(openai.APIError, match="No cloud service answers"):
            streamed(chat(client, stream=True))
        *chunks, last = lines_of(site)
        assert last["error"]["code"] == "unavailable"
        assert last["netgpt"]["enriched_prompt"]
        assert not any(chunk["choices"][0]["delta"].get("content") for chunk in chunks)


def test_passing_through_tells_what_was_disclosed_and_is_counted_alike(site: TinySite) -> None:
    with asked(site) as client:
        for model in ("netgpt", "netgpt-cloud"):
            with pytest.raises(openai.InternalServerError) as failed:
                chat(client, model)
            assert body_of(failed.value)["netgpt"]["disclosed_prompt"]
            assert body_of(failed.value)["netgpt"]["bytes_down"] == 0
        token = {"authorization": f"Bearer {site.service.token}"}
        figures = httpx.get(f"{site.service.http[:-3]}/metrics", headers=token).text
    assert 'netgpt_edge_requests_total{end="unavailable"} 2.0' in figures
    assert "netgpt_edge_refusals_total{" not in figures  # the site took them on


@contextmanager
def says_nothing() -> Iterator[str]:
    """Takes connections, and nothing more."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def black_hole() -> Iterator[str]:
    """Answers no attempt to connect: its queue of connections is full."""
    with ExitStack() as closing:
        listening = closing.enter_context(socket.socket())
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        for _ in range(4):
            waiting = closing.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("cloud", [says_nothing, black_hole])
def test_a_cloud_that_answers_nothing_is_given_up_long_before_the_deadline(
    tmp_path: Path, cloud: Callable[[], Any]
) -> None:
    """The status tells: asking.timeout_s would end in DEADLINE_EXCEEDED."""
    with cloud() as address:
        site = tiny_site(tmp_path, "asking.timeout_s=50", cloud=address)
        site.put_in_use(site.release())
        with asked(site) as client:
            with pytest.raises(openai.InternalServerError) as failed:
                chat(client, timeout=40)
            assert body_of(failed.value)["error"]["code"] == "unavailable"
            assert body_of(failed.value)["netgpt"]["enriched_prompt"]


def test_a_cloud_that_dies_in_the_middle(tmp_path: Path) -> None:
    """What had come stays, then there is a typed error; nothing of it is sent again."""
    with fake_cloud() as cloud:
        cloud.dies_after = 1
        site = tiny_site(tmp_path, cloud=cloud.address)
        site.put_in_use(site.release())
        with asked(site) as client:
            *chunks, last = lines_of(site)
            with pytest.raises(openai.InternalServerError) as failed:
                chat(client)
    text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert text == PIECES[0]
    assert last["error"]["code"] == "unavailable"
    both = zip((last, body_of(failed.value)), cloud.requests, strict=True)
    for told, request in ((body["netgpt"], request) for body, request in both):
        assert told["enriched_prompt"]
        assert told["bytes_up"] == request.ByteSize()
        assert told["bytes_down"] > 0
    assert SHORT not in json.dumps([chunks, last])
