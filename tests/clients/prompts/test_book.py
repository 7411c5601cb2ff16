"""Reading books: what a record may be, a stable split, and every bad book named."""

import json
from pathlib import Path

import pytest

from clients.prompts.book import read_book
from clients.prompts.record import PromptRecord
from fl.errors import BookError
from fl.site import Site

SITE = Site(id="oslo", place="Oslo")
GOOD = '{"prompt": "tea", "completion": "Tea in Oslo."}\n'


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "book.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_optional_keys(tmp_path: Path) -> None:
    lines = [
        {"prompt": " tea ", "completion": "Tea.", "context": "time noon", "split": "val"},
        {"prompt": "bus", "completion": "Bus.", "location": "Bergen", "split": "train"},
        {"prompt": "cab", "completion": "Cab.", "split": "train", "marks": {"fact": ["Cab"]}},
        {
            "prompt": "bar",
            "completion": "At Bar 9 in Oslo.",
            "slots": {"name": "Bar 9", "city": "Oslo", "day": "today"},
            "slot_src": {"name": "venue", "city": "site", "day": "free"},
            "split": "train",
        },
        {"prompt": "left out", "completion": "x", "kind": "elaborate"},
    ]
    book = read_book(write(tmp_path, "\n".join(map(json.dumps, lines)) + "\n\n"), site=SITE)
    assert book.heldout == (PromptRecord(short="tea", enriched="Tea.", card="time noon"),)
    assert [record.card for record in book.train] == ["Bergen", "Oslo", "Oslo"]
    assert book.train[1].marks == {"fact": ("Cab",)}
    assert book.train[2].marks == {"venue": ("Bar 9",), "site": ("Oslo",)}


def test_the_split_without_a_name_is_stable_and_grows_with_the_book(tmp_path: Path) -> None:
    lines = [json.dumps({"prompt": f"p{i}", "completion": "c"}) for i in range(300)]
    small = read_book(write(tmp_path, "\n".join(lines[:100])), site=SITE)
    large = read_book(write(tmp_path, "\n".join(lines)), site=SITE)
    assert {r.short for r in small.heldout} <= {r.short for r in large.heldout}
    assert 0.08 < len(large.heldout) / 300 < 0.25


def test_two_records_are_enough(tmp_path: Path) -> None:
    book = read_book(write(tmp_path, GOOD + GOOD.replace("tea", "milk")), site=SITE)
    assert (len(book.train), len(book.heldout)) == (1, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (GOOD + "{not json\n", "line 2: not JSON"),
        (GOOD + "[1]\n", "line 2: expected a JSON object"),
        (GOOD + '{"prompt": "secret"}\n', "line 2: the key 'completion' is missing"),
        (GOOD + '{"prompt": "secret", "completion": " "}\n', "line 2: 'completion' must be"),
        (GOOD + '{"prompt": 3, "completion": "x"}\n', "line 2: 'prompt' must be"),
        (GOOD.encode() + b'{"prompt": "secret \xff"}\n', "line 2: not valid UTF-8"),
        (GOOD + '{"prompt": "secret' + "x" * 5_000_000 + '"}\n', "line 2: longer than 256 KiB"),
        (GOOD + GOOD.replace("}", ', "split": "secret"}'), "line 2: 'split' is"),
        (GOOD + GOOD.replace("}", ', "marks": {"fact": "secret"}}'), "line 2: 'marks' must map"),
        (GOOD + GOOD.replace("}", ', "slots": ["secret"]}'), "line 2: 'slots' and 'slot_src'"),
        (GOOD + '{"prompt": ' + "9" * 5000 + "}\n", "line 2: a number or a nesting too large"),
        (GOOD + "[" * 100_000 + "\n", "line 2: a number or a nesting too large"),
        (GOOD + GOOD.replace("tea", "secret \\ud800"), "line 2: half a surrogate pair"),
        (GOOD, "at least 2 are needed"),
        ("", "at least 2 are needed"),
    ],
)
def test_a_bad_book_is_named_with_file_line_and_remedy(
    tmp_path: Path, text: str | bytes, said: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(BookError) as error:
        read_book(path, site=SITE)
    assert str(path) in str(error.value)
    assert said in str(error.value)
    assert "secret" not in str(error.value)  # private text never stands in an error


def test_a_missing_book(tmp_path: Path) -> None:
    with pytest.raises(BookError, match="does not exist"):
        read_book(tmp_path / "nowhere.jsonl", site=SITE)
