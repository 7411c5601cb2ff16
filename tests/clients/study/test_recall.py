"""Recall by hand."""

import pytest

from clients.prompts.recall import names, recall_of


@pytest.mark.parametrize(
    ("text", "phrase", "named"),
    [
        ("at the Blue  Heron, now", "blue heron", True),
        ("on Sunday", "sun", False),
        ("3 rooms", "3", True),
        ("13 rooms", "3", False),
        ("(by tram).", "by tram", True),
        ("pay $350.", "$350", True),
    ],
)
def test_whole_words(text: str, phrase: str, named: bool) -> None:
    assert names(text, phrase) is named


def test_recall_counts_by_kind() -> None:
    recall = recall_of(
        ["tea in Oslo by tram", "nothing"],
        [{"fact": ["Oslo", "Bergen"], "habit": ["by tram"]}, {"fact": ["Oslo"]}],
    )
    assert (recall["fact"].found, recall["fact"].looked_for) == (1, 3)
    assert recall["fact"].share == pytest.approx(1 / 3)
    assert recall["habit"].share == 1.0
