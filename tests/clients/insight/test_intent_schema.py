"""Schemas of intents: the shipped files, their words, what is refused and how."""

import json

import jsonschema
import pytest

from clients.insight.intents.schema import Intent, to_object, words
from clients.insight.intents.schema_file import parse, read_schema
from fl.errors import SettingsError
from fl.settings import resolve

SMALL = b"""name: home
out_of_scope: none
intents:
  turn_on: {slots: [device, roomName]}
  stop: {destructive: true}
"""


@pytest.mark.parametrize(
    ("name", "intents", "slots", "domains"),
    [("network", 6, 6, 1), ("clinc150", 150, 0, 10), ("snips", 7, 39, 4)],
)
def test_the_shipped_schemas(name: str, intents: int, slots: int, domains: int) -> None:
    schema = read_schema(resolve(f"configs/intents/{name}.yaml"), source=name)
    kinds = schema.intents.values()
    assert schema.name == name
    assert len(kinds) == intents
    assert len({slot for kind in kinds for slot in kind.slots}) == slots
    assert len({kind.domain for kind in kinds}) == domains
    jsonschema.Draft202012Validator.check_schema(schema.json_schema())


def test_names_read_as_words() -> None:
    assert words("create_flow+apply_filter") == "create flow and apply filter"
    assert words("AddToPlaylist") == "add to playlist"
    assert words("timeRange") == "time range"
    assert words("rollover_401k") == "rollover 401k"


def test_an_answer_is_json_of_the_schema() -> None:
    once = parse(SMALL, source="s")
    often = parse(SMALL + b"repeats: true\n", source="s")
    found = Intent(
        intent="turn_on", slots=(("device", "lamp"), ("roomName", "hall")), confidence=0.75
    )
    assert to_object(found, once)["slots"] == {"device": "lamp", "roomName": "hall"}
    assert to_object(found, often)["slots"] == {"device": ["lamp"], "roomName": ["hall"]}
    assert "lamp" not in repr(found)
    for schema in (once, often):
        judge = jsonschema.Draft202012Validator(schema.json_schema())
        judge.validate(json.loads(json.dumps(to_object(found, schema))))
        for wrong in (
            {"intent": "turn_of", "slots": {}, "confidence": 1},
            {"intent": "stop", "slots": {"device": "lamp"}, "confidence": 1},
            {"intent": "stop", "slots": {}, "confidence": 1.5},
            {"intent": "stop", "slots": {}},
        ):
            assert not judge.is_valid(wrong)
        assert judge.is_valid({"intent": "none", "slots": {}, "confidence": 0.5})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"name: a\nintents: {b: {}}\n", "line 1: a schema has the key `out_of_scope`"),
        (SMALL + b"repeat: true\n", "line 6: a schema has no key `repeat`. Did you mean repeats?"),
        (SMALL + b"  # \n  turn-on\n", "not valid YAML"),
        (SMALL + b"most_slots: many\n", "line 6: a number from 1 to 1000 stands here"),
        (SMALL.replace(b"stop", b"turnOn"), "line 5: `turnOn` reads `turn on`, as `turn_on` does"),
        (SMALL.replace(b"stop", b"none"), "line 5: `none` is what out_of_scope is called already"),
        (SMALL.replace(b"destructive", b"destroys"), "line 5: the intent `stop` has no key"),
        (SMALL.replace(b"true", b"perhaps"), "line 5: true or false stands here, found `perhaps`"),
        (SMALL.replace(b"roomName", b"Device"), "line 4: the slots of `turn_on` must differ"),
        (b"- a\n", "line 1: a schema is written as `key: value` lines"),
        (b"\xff", "UTF-8"),
    ],
)
def test_a_bad_schema_is_refused_with_its_line(text: bytes, said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse(text, source="home.yaml")
    assert said in str(refused.value)
    assert str(refused.value).startswith("home.yaml")
