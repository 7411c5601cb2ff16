"""The verb `intent`: what it prints and writes, and what it refuses before it reads anything."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clients.__main__ import app
from clients.adapter_shelf import open_shelf
from clients.atomic import publish_text
from clients.insight.intents import verb
from fl.errors import BookError, FederationError, LongTextError, NetGPTError, SettingsError
from fl.settings import with_task
from fl.site_list import book_path, federated_sites
from fl.tasks import INTENT
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_site
from tests.clients.learning.sites import first_adapter

BOOK = [{"text": f"drop h{i} now", "intent": "remove_flow", "entities": []} for i in range(4)]


@pytest.fixture
def site(tmp_path: Path) -> TinySite:
    """Its shelf has a first adapter of task=intent, and it has a book."""
    site = tiny_site(tmp_path)
    own = with_task(site.settings, INTENT)
    release = site.release(2, shared=first_adapter(own), task=INTENT)
    shelf = open_shelf(own, SITE, "001")
    shelf.keep_release(release)
    shelf.use(release.number)
    place = next(s for s in federated_sites(own) if s.id == SITE)
    publish_text(book_path(own, place), "".join(json.dumps(line) + "\n" for line in BOOK))
    return site


def intent(site: TinySite, *words: str) -> tuple[str, str]:
    """(standard output, the rest) of `intent` at the site. Raises what it raises."""
    done = CliRunner().invoke(app, ["intent", *words, f"site={SITE}", *site.arguments])
    if done.exception is not None and isinstance(done.exception, NetGPTError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout, done.stderr


def test_one_text_is_printed_as_json_alone(site: TinySite) -> None:
    printed, _ = intent(site, "drop the flow from h1 to h2")
    assert set(json.loads(printed)) == {"intent", "slots", "confidence"}
    printed, _ = intent(site, "qos=20Mbps for h1 to h2")
    assert "intent" in json.loads(printed)


def test_answers_are_matched_to_texts_by_their_lines(
    site: TinySite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More texts than are read in one go, written to a file."""
    monkeypatch.setattr(verb, "TOGETHER", 4)
    texts, out = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    texts.write_text("".join(json.dumps({"text": f"cut h{i}"}) + "\n" for i in range(10)) + "\n")
    printed, said = intent(site, f"jsonl={texts}", f"out={out}")
    assert printed == ""
    assert "10 intents" in said
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(lines) == 10
    alone, _ = intent(site, "cut h3")
    assert lines[3]["intent"] == json.loads(alone)["intent"]


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b'{"text": "a"}\n\n{"text": "b"}\n', "line 2: blank"),
        (b'{"text": "a"}\n{"text": "secret \xff"}\n', "line 2: not valid UTF-8"),
        (b'{"text": "a"}\n["secret"]\n', "line 2: expected a JSON object"),
        (b'{"text": "a"}\n{"secret": 1}\n', "line 2: the key 'text' is missing"),
        (b'{"text": "a"}\n{"text": " "}\n', "line 2: 'text' must be"),
        (b"[" * 100_000, "line 1: a number or a nesting"),
        (b'{"text": "a"}\n{"text": "' + b"secret " * 300 + b'"}\n', "line 2: The text has"),
    ],
)
def test_a_bad_line_is_named_and_not_quoted(
    site: TinySite, tmp_path: Path, lines: bytes, said: str
) -> None:
    texts = tmp_path / "in.jsonl"
    texts.write_bytes(lines)
    with pytest.raises(BookError) as refused:
        intent(site, f"jsonl={texts}")
    assert said in str(refused.value)
    assert "secret" not in str(refused.value)


def test_refused_before_a_model_is_loaded(
    site: TinySite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(verb, "edge_model", never)
    for words, said in (
        ([""], "blank"),
        (["  \n"], "blank"),
        (["cut h1", f"out={tmp_path}"], "it is a folder"),
        (["cut h1", f"out={tmp_path}/none/out.jsonl"], "there is no folder"),
        (["cut h1", "h2"], "Give one text"),
        (["cut h1", f"jsonl={tmp_path}/in.jsonl"], "Give one text"),
    ):
        with pytest.raises(SettingsError, match=said):
            intent(site, *words)
    with pytest.raises(BookError, match=r"none\.jsonl cannot be read \(No such file"):
        intent(site, f"jsonl={tmp_path}/none.jsonl")


def test_what_the_model_or_the_shelf_cannot_do(site: TinySite) -> None:
    with pytest.raises(LongTextError, match="Shorten"):
        intent(site, "cut " * 300)
    with pytest.raises(FederationError, match="no release of task=intent"):
        intent(site, "cut h1", "name=other")
