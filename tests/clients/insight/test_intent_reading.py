"""Texts as long as the model reads: whole, or refused; an answer without room says so."""

import json

import jsonschema
import pytest

from clients.edge_model import EdgeModel
from clients.insight.intents.grammar import SlotGrammar
from clients.insight.intents.reading import IntentReader
from clients.insight.intents.schema import Intent, to_object
from clients.insight.intents.schema_file import parse
from clients.insight.intents.vocabulary import Vocabulary
from clients.writing import token_ids
from fl.errors import LongTextError
from fl.prompt_format import task_prompt
from tests.clients.test_edge_model import drawn, opened
from tests.tiny_models import POSITIONS, make_tiny_edge, make_tokenizer

SCHEMA = parse(
    b"name: n\nout_of_scope: none\nrepeats: true\nintents:\n  link: {slots: [source]}\n  cut: {}\n",
    source="n",
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    return opened(make_tiny_edge(tmp_path_factory.mktemp("edge")), ("c_attn", "c_fc", "c_proj"))


def prompt_tokens(model: EdgeModel, text: str) -> int:
    return len(model.token_ids(task_prompt("intent", "", text)))


def of_tokens(model: EdgeModel, wanted: int) -> str:
    """A text whose prompt has so many tokens: to the tiny tokenizer each z is one."""
    return "z" * (1 + wanted - prompt_tokens(model, "z"))


def test_a_text_is_read_whole_up_to_the_last_position(model: EdgeModel) -> None:
    """Room is needed for the longest intent with its end: out of scope."""
    reader, adapter = IntentReader(model, SCHEMA), drawn(model, seed=1)
    longest = POSITIONS - len(model.token_ids(" out of scope")) - 1
    whole = of_tokens(model, longest)
    assert prompt_tokens(model, whole) == longest
    assert reader.fits(whole)
    assert not reader.fits(whole + "z")
    reader.read(adapter, [whole], threshold=0.0)
    with pytest.raises(LongTextError, match=f"reads {longest}") as refused:
        reader.read(adapter, ["z", whole + "z"], threshold=0.0)
    assert refused.value.index == 1
    assert "zz" not in str(refused.value)


def test_the_prompt_is_not_cut_for_slots(model: EdgeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slots of a text that takes most of the positions are written behind all of it."""
    reader, adapter = IntentReader(model, SCHEMA), drawn(model, seed=1)
    text = of_tokens(model, POSITIONS - 60)
    seen: list[tuple[int, int]] = []
    write = model.writer.write

    def spy(lines: list[object], **more: object) -> object:
        seen.extend((len(line.ids), line.max_new_tokens) for line in lines)  # type: ignore[attr-defined]
        return write(lines, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(model.writer, "write", spy)
    reader.slots(adapter, [text, "z"], ["link", "link"])
    words = len(model.token_ids(" link"))
    assert seen[0] == (POSITIONS - 60 + words, 60 - words)
    # of "z": 16 values at most, each a newline, the name with its colon, a blank; the text's byte
    name = len(model.token_ids("source:"))
    assert seen[1][1] == 16 * (name + 2) + 1 + 1


def test_a_grammar_says_whether_room_barred_a_slot() -> None:
    tokenizer = make_tokenizer()

    def walked(limit: int) -> bool:
        rule = SlotGrammar(
            "a b",
            ("s",),
            vocabulary=Vocabulary(tokenizer),
            model_ids=lambda text: token_ids(tokenizer, text),
            end_id=tokenizer.eos_token_id,
            limit=limit,
            most=2,
            repeats=True,
        )
        ids = token_ids(tokenizer, "\ns: a")
        for i in range(len(ids) + 1):
            rule(ids[:i])
        return rule.short

    one = len(token_ids(tokenizer, "\ns: a"))
    assert walked(one)  # the second had no room
    assert not walked(2 * one + 2)


def test_an_answer_without_room_is_marked_and_valid() -> None:
    short = Intent(intent="link", slots=(("source", "a"),), confidence=0.5, complete=False)
    whole = Intent(intent="link", slots=(("source", "a"),), confidence=0.5)
    judge = jsonschema.Draft202012Validator(SCHEMA.json_schema())
    for found in (short, whole):
        judge.validate(json.loads(json.dumps(to_object(found, SCHEMA))))
    assert to_object(short, SCHEMA)["complete"] is False
    assert "complete" not in to_object(whole, SCHEMA)
