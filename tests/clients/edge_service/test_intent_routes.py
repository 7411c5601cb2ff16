"""POST /v1/intents: one text, several, and what is refused without repeating it."""

import json
from collections.abc import Sequence

import pytest

from clients.edge_service.intent_routes import IntentRoutes, Read
from clients.insight.intents.schema import Intent
from clients.insight.intents.schema_file import read_schema
from fl.errors import BookError, FederationError, LongTextError
from fl.openai_api.errors import ApiError
from fl.openai_api.resources import ResourceCall
from fl.settings import resolve

SCHEMA = read_schema(resolve("configs/intents/network.yaml"), source="network")


def read(texts: Sequence[str]) -> list[Intent]:
    """Says of every text that its last word is a source."""
    for index, text in enumerate(texts):
        if len(text) > 100:
            raise LongTextError(index, found=300, most=240)
    return [
        Intent(intent="remove_flow", slots=(("source", text.split()[-1]),), confidence=0.5)
        for text in texts
    ]


def failing(error: Exception) -> Read:
    def read(texts: Sequence[str]) -> list[Intent]:
        raise error

    return read


def post(body: object, *, read: Read = read) -> object:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = IntentRoutes(SCHEMA, read).resources()[0].answer
    return answer(ResourceCall(method="POST", path={}, query={}, body=raw))


def test_one_text_and_several() -> None:
    one = {"intent": "remove_flow", "slots": {"source": ["h1"]}, "confidence": 0.5}
    assert post({"text": "cut h1"}) == one
    assert post({"texts": ["cut h1", "cut h1"]}) == {"object": "list", "data": [one, one]}


def test_the_schema_is_told() -> None:
    call = ResourceCall(method="GET", path={}, query={}, body=b"")
    assert IntentRoutes(SCHEMA, read).resources()[1].answer(call) == SCHEMA.json_schema()


@pytest.mark.parametrize(
    "body",
    [
        b"\xff",
        [],
        {},
        {"text": ""},
        {"text": " \n"},
        {"text": 1},
        {"texts": []},
        {"texts": "secret"},
        {"texts": ["secret"] * 65},
        {"text": "secret" * 400},
        {"text": "secret", "texts": ["secret"]},
        {"text": "secret", "more": 1},
    ],
)
def test_bad_bodies_are_refused_without_their_text(body: object) -> None:
    with pytest.raises(ApiError) as refused:
        post(body)
    assert refused.value.http_status == 400
    assert "secret" not in str(refused.value)


def test_a_text_that_the_model_cannot_read_whole_is_named_by_its_place() -> None:
    for body, param in (
        ({"text": "secret " * 20}, "text"),
        ({"texts": ["cut h1", "secret " * 20]}, "texts[1]"),
    ):
        with pytest.raises(ApiError) as refused:
            post(body)
        assert (refused.value.http_status, refused.value.param) == (400, param)
        assert str(refused.value).startswith(f"{param}: The text has 300 tokens")
        assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "error", [FederationError("no release yet"), BookError("/private/book.jsonl, line 3")]
)
def test_a_site_that_cannot_answer(error: Exception) -> None:
    with pytest.raises(ApiError) as refused:
        post({"text": "cut h1"}, read=failing(error))
    assert refused.value.http_status == 503
    assert "private" not in str(refused.value)
