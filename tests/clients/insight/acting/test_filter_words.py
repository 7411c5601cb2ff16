"""Words of a filter: whole phrases allow or deny, and nothing is read out of a part of one."""

import json
from pathlib import Path

import pytest

from clients.insight.acting.filter_words import allows
from fl.errors import ActionError

BOOK = Path(__file__).parents[5] / "shared/data/intent/ibns_train.jsonl"
DENIALS = (
    "should be closed;should be disabled;should be refused;access forbidden;can\u2019t access;"
    "can't access it;unable to access;should be inaccessible;restrict access;revoke access;"
    "denies access;should not be able to access;not allowed;Drop;don't let;do not allow;blocked;"
    "cannot access;must not be reachable;never allow"
).split(";")


@pytest.mark.parametrize("text", DENIALS)
def test_a_denial_denies(text: str) -> None:
    assert allows(text) is False


@pytest.mark.parametrize(
    "text", ["allow", "Enable", "should be  accessible", "is permitted to access", "access it"]
)
def test_a_permission_allows(text: str) -> None:
    assert allows(text) is True


@pytest.mark.parametrize(
    "text",
    ["should not be blocked", "disable the block", "open and close", "tunnel", "accessible?", ""],
)
def test_whatever_else_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ActionError, match="allows or denies") as refused:
        allows(text)
    assert not text or text not in str(refused.value)


def test_the_words_of_the_data_set() -> None:
    if not BOOK.is_file():
        pytest.skip(f"{BOOK} is not there")
    lines = (json.loads(line) for line in BOOK.read_text().splitlines() if line)
    words = {word for line in lines for slot, word in line["entities"] if slot == "action"}
    assert {word for word in words if not allows(word)} == {
        "should not be able",
        "Drop",
        "block",
        "close",
    }
    assert len(words) >= 12
