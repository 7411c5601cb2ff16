"""The official client at the HTTP API of a tiny site's edge service."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from tests.clients.edge_service.tiny_service import TinySite

KINDS = ["", "-edge", "-synergy", "-alone", "-auto", "-split"]  # of models, netgpt before
SHORT = "zanzibar lantern, the usual"  # a canary: nowhere else in the tiny world


@contextmanager
def asked(site: TinySite) -> Iterator[openai.OpenAI]:
    """A client of the running service, with the key of edge.json."""
    with site.running():
        service = site.service
        with openai.OpenAI(
            base_url=service.http, api_key=service.token, max_retries=0, timeout=60
        ) as client:
            yield client


def chat(client: openai.OpenAI, model: str = "netgpt", **more: Any) -> Any:
    messages = more.pop("messages", [{"role": "user", "content": SHORT}])
    return client.chat.completions.create(model=model, messages=messages, **more)


def streamed(chunks: Any) -> tuple[str, dict[str, Any]]:
    """The text of a stream, and all it told under netgpt."""
    text, told = "", dict[str, Any]()
    for chunk in chunks:
        told.update(getattr(chunk, "netgpt", None) or {})
        text += chunk.choices[0].delta.content or ""
    return text, told
