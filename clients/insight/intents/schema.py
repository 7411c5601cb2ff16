"""Which intents there are, which slots each has, and how an answer about one looks.

A file under configs/intents is one (schema_file reads it). Names are what programs see; words are
what the model reads and writes, and stand for exactly one name each.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

OUT_OF_SCOPE_WORDS = "out of scope"
_CAPITAL_INSIDE = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

Slots = tuple[tuple[str, str], ...]  # (name, value), as they stand in the answer


@dataclass(frozen=True, kw_only=True)
class IntentKind:
    """One intent of a schema."""

    name: str
    slots: tuple[str, ...] = ()  # names that it may have
    description: str = ""
    domain: str = ""  # a group of intents that one kind of place has
    destructive: bool = False  # acting on it takes something away


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What somebody wants. Of a text that no intent fits, the name is the out-of-scope one."""

    intent: str
    slots: Slots = field(default=(), repr=False)  # copied from the text, which is private
    # Probability among all intents of the schema; out of scope: 1 - that of the likeliest in scope.
    confidence: float
    complete: bool = True  # False: the model had no room left in which more slots could be


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The intents. `line` says under which keys a line of a book has text, intent and slots."""

    name: str
    description: str
    out_of_scope: str
    repeats: bool  # may a slot have several values?
    most_slots: int  # values of one answer
    line: tuple[str, str, str]
    intents: Mapping[str, IntentKind]

    @property
    def names(self) -> tuple[str, ...]:
        """All intents, and last the name for what is none of them."""
        return (*self.intents, self.out_of_scope)

    @property
    def has_slots(self) -> bool:
        """Whether any intent has slots."""
        return any(kind.slots for kind in self.intents.values())

    def words(self, name: str) -> str:
        """What the model writes for an intent."""
        return OUT_OF_SCOPE_WORDS if name == self.out_of_scope else words(name)

    def slots_of(self, name: str) -> tuple[str, ...]:
        """The slots of an intent; what is out of scope has none."""
        return () if name == self.out_of_scope else self.intents[name].slots

    def json_schema(self) -> dict[str, object]:
        """A JSON Schema (draft 2020-12) of `to_object`'s answers."""
        text: dict[str, object] = {"type": "string", "minLength": 1}
        several = {"type": "array", "items": text, "minItems": 1, "maxItems": self.most_slots}
        value = several if self.repeats else text
        confidence = {"type": "number", "minimum": 0, "maximum": 1}
        answers = [
            {
                "type": "object",
                "properties": {
                    "intent": {"const": name},
                    "slots": {
                        "type": "object",
                        "properties": dict.fromkeys(self.slots_of(name), value),
                        "additionalProperties": False,
                    },
                    "confidence": confidence,
                    "complete": {"const": False},
                },
                "required": ["intent", "slots", "confidence"],
                "additionalProperties": False,
            }
            for name in self.names
        ]
        return {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            "title": f"An intent of {self.name}",
            "oneOf": answers,
        }


def words(name: str) -> str:
    """A name as words: create_flow+apply_filter -> create flow and apply filter."""
    apart = _CAPITAL_INSIDE.sub(" ", name).replace("+", " and ").replace("_", " ")
    return " ".join(apart.lower().split())


def to_object(found: Intent, schema: Schema) -> dict[str, object]:
    """As JSON: {intent, slots, confidence}. Where slots repeat, each has a list of values.

    `"complete": false` is added where slots may be missing for lack of room.
    """
    slots: dict[str, object] = {}
    if schema.repeats:
        for name in dict.fromkeys(name for name, _ in found.slots):
            slots[name] = [value for own, value in found.slots if own == name]
    else:
        slots.update(found.slots)
    said: dict[str, object] = {"intent": found.intent, "slots": slots}
    said["confidence"] = found.confidence
    return said if found.complete else {**said, "complete": False}
