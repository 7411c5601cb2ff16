"""Books of intents: both ways to write slots, and what is refused without quoting it."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from clients.insight.books import reader_of
from clients.prompts.book import Book, read_book
from fl.errors import BookError
from fl.settings import load
from fl.site import Site

SITE = Site(id="hill", place="Hill")
FLOW: dict[str, object] = {
    "text": "send  h1 to h2, h3 to h4 please",
    "intent": "create_flow",
    "entities": [["source", "h1"], ["target", "h2"], ["source", "h3"], ["target", "h4"]],
}


def book_of(folder: Path, schema: str, *lines: Mapping[str, object]) -> Book:
    file = folder / "book.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    settings = load(["task=intent", f"intent.schema=configs/intents/{schema}.yaml"])
    return read_book(file, site=SITE, reader=reader_of(settings))


def test_a_line_becomes_what_the_model_reads_and_writes(tmp_path: Path) -> None:
    other = {"text": "hello there", "intent": "out_of_scope", "split": "val"}
    book = book_of(tmp_path, "network", {**FLOW, "split": "train"}, other)
    assert book.train[0].prompt() == "Request: send h1 to h2, h3 to h4 please\nIntent:"
    assert book.train[0].enriched == ("create flow\nsource: h1\ntarget: h2\nsource: h3\ntarget: h4")
    assert book.heldout[0].enriched == "out of scope"


def test_slots_may_be_a_mapping(tmp_path: Path) -> None:
    line: dict[str, object] = {
        "text": "play jazz from 1950",
        "intent": "PlayMusic",
        "slots": {"genre": "jazz", "year": "1950"},
    }
    book = book_of(tmp_path, "snips", line, line)
    assert book.train[0].enriched == "play music\ngenre: jazz\nyear: 1950"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"intent": "create_flows"}, "Did you mean create_flow?"),
        ({"entities": [["sources", "h1"]]}, "Did you mean source?"),
        ({"entities": [["source", "h"]]}, "the value of source does not stand in 'text'"),
        ({"entities": [["source", 1]]}, "must be a text that is not empty"),
        ({"entities": [["source", " "]]}, "must be a text that is not empty"),
        ({"entities": "h1"}, "maps names to values"),
        ({"entities": [["source", "h1"]] * 17}, "17 values of slots"),
        ({"intent": "out_of_scope"}, "It has no slots."),
    ],
)
def test_a_bad_line_is_refused_without_its_text(
    tmp_path: Path, change: dict[str, object], said: str
) -> None:
    with pytest.raises(BookError) as refused:
        book_of(tmp_path, "network", FLOW, {**FLOW, **change})
    assert said in str(refused.value)
    assert "line 2" in str(refused.value)
    assert "please" not in str(refused.value)


def test_several_values_need_a_schema_that_lets_slots_repeat(tmp_path: Path) -> None:
    line: dict[str, object] = {"text": "a b", "intent": "PlayMusic", "slots": {"genre": ["a", "b"]}}
    with pytest.raises(BookError, match="repeats: true"):
        book_of(tmp_path, "snips", line)
