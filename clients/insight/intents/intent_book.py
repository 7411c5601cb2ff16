"""Books of intents: a line says a text, its intent, and its slots' values as they stand in it.

    {"text": ..., "intent": NAME, "slots": {NAME: VALUE or [VALUE, ...]}}     or, in any order and
    {"text": ..., "intent": NAME, "entities": [[NAME, VALUE], ...]}           as often as needed

The schema names these keys. Slots are learned in the order in which their values stand in the text.
`split` is as in every book. Blanks count as one, line breaks too.
"""

from collections.abc import Mapping
from typing import Any

from clients.insight.intents.grammar import in_text_order, is_span, one_line
from clients.insight.intents.schema import Schema, Slots, words
from clients.insight.intents.schema_file import schema_of
from clients.prompts.book import Reader, text_of
from clients.prompts.record import PromptRecord
from clients.workflow.near import near
from fl.errors import BookError
from fl.settings import Settings
from fl.site import Site
from fl.tasks import INTENT


def intent_reader(settings: Settings) -> Reader:
    """What makes records of lines of the settings' schema. Raises SettingsError for the schema."""
    schema = schema_of(settings)

    def read(entry: Mapping[str, Any], where: str, site: Site) -> PromptRecord:
        return intent_record(schema, *labelled(entry, where, schema))

    text, intent, slots = schema.line
    return Reader(
        record=read, keys=f"{text}, {intent} and {slots}", command="./run.sh books task=intent"
    )


def intent_record(schema: Schema, text: str, intent: str, slots: Slots) -> PromptRecord:
    """What the model learns of a text: the intent's words, then a line for each slot's value."""
    lines = [schema.words(intent), *(f"{words(name)}: {value}" for name, value in slots)]
    return PromptRecord(short=text, enriched="\n".join(lines), card="", task=INTENT)


def labelled(entry: Mapping[str, Any], where: str, schema: Schema) -> tuple[str, str, Slots]:
    """Text, intent and slots of a line. Raises BookError, which quotes none of them."""
    text_key, intent_key, slots_key = schema.line
    text = one_line(text_of(entry, text_key, where))
    intent = text_of(entry, intent_key, where)
    if intent not in schema.names:
        raise BookError(
            f"{where}: {intent_key!r} is no intent of the schema {schema.name}. "
            f"{near(intent, schema.names)}"
        )
    slots = _pairs(entry.get(slots_key) or {}, where, slots_key)
    known = schema.slots_of(intent)
    for name, value in slots:
        if name not in known:
            hint = near(name, known) if known else "It has no slots."
            raise BookError(f"{where}: {slots_key!r} has a slot that {intent} has not. {hint}")
        if not is_span(value, text):
            raise BookError(
                f"{where}: the value of {name} does not stand in {text_key!r} as whole words. "
                "Copy it from there."
            )
    _check_counts(slots, where, schema)
    return text, intent, in_text_order(slots, text)


def _check_counts(slots: Slots, where: str, schema: Schema) -> None:
    if len(slots) > schema.most_slots:
        raise BookError(
            f"{where}: {len(slots)} values of slots; the schema {schema.name} has most_slots "
            f"{schema.most_slots}."
        )
    names = [name for name, _ in slots]
    if not schema.repeats and len(set(names)) < len(names):
        raise BookError(
            f"{where}: a slot has several values; the schema {schema.name} does not say "
            "`repeats: true`."
        )


def _pairs(found: object, where: str, key: str) -> Slots:
    """A mapping or a list of pairs as pairs, in order."""
    pairs: list[tuple[object, object]] = []
    if isinstance(found, dict):
        for name, values in found.items():
            pairs += [(name, one) for one in (values if isinstance(values, list) else [values])]
    elif isinstance(found, list) and all(isinstance(p, list) and len(p) == 2 for p in found):
        pairs = [(name, value) for name, value in found]
    else:
        raise BookError(f"{where}: {key!r} maps names to values, or is a list of such pairs.")
    texts = [(n, one_line(v)) for n, v in pairs if isinstance(n, str) and isinstance(v, str)]
    if len(texts) < len(pairs) or not all(value for _, value in texts):
        raise BookError(f"{where}: every value in {key!r} must be a text that is not empty.")
    return tuple(texts)
