"""A schema's file (YAML) -> a checked `Schema`; every refusal names its file and line.

name: home
out_of_scope: none
line: {text: text, intent: intent, slots: slots}
intents:
  turn_on: {slots: [device, room], description: ..., domain: ..., destructive: false}
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from clients.insight.intents.schema import IntentKind, Schema, words
from clients.workflow.near import near
from fl.errors import SettingsError
from fl.settings import Settings, resolve

LARGEST = 1_000_000  # bytes
MOST_SLOTS = 16  # unless the file says another number

_TOP = ("name", "description", "out_of_scope", "repeats", "most_slots", "line", "intents")
_NEEDED = ("name", "out_of_scope", "intents")
_LINE = ("text", "intent", "slots")
_KIND = ("slots", "description", "domain", "destructive")


def schema_of(settings: Settings) -> Schema:
    """The schema that the settings name. Raises SettingsError."""
    return read_schema(resolve(settings.intent.schema), source=settings.intent.schema)


def read_schema(file: Path, *, source: str) -> Schema:
    """A file's schema, checked; errors call it `source`. Raises SettingsError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{source}: the schema of intents cannot be read ({error.strerror}). Let the setting "
            "intent.schema name a YAML file; configs/intents holds some."
        ) from None
    return parse(data, source=source)


def parse(data: bytes, *, source: str) -> Schema:
    """The bytes of a file as a schema. Raises SettingsError."""
    read = _Reader(source)
    if len(data) > LARGEST:
        raise read.refuse(1, f"a schema has {LARGEST} bytes at the most, found {len(data)}.")
    top = read.mapping(_composed(data, source), 1, "a schema", _TOP)
    for key in _NEEDED:
        if key not in top:
            raise read.refuse(1, f"a schema has the key `{key}`; it is missing.")
    keys = (
        read.mapping(top["line"].node, top["line"].line, "`line`", _LINE) if "line" in top else {}
    )
    entries = read.mapping(top["intents"].node, top["intents"].line, "`intents`", None)
    schema = Schema(
        name=read.text(top["name"]),
        description=read.text(top["description"]) if "description" in top else "",
        out_of_scope=read.text(top["out_of_scope"]),
        repeats="repeats" in top and read.flag(top["repeats"]),
        most_slots=read.count(top["most_slots"]) if "most_slots" in top else MOST_SLOTS,
        line=(
            read.text(keys["text"]) if "text" in keys else "text",
            read.text(keys["intent"]) if "intent" in keys else "intent",
            read.text(keys["slots"]) if "slots" in keys else "slots",
        ),
        intents={name: read.kind(name, entry) for name, entry in entries.items()},
    )
    _one_name_for_all_words(schema, read, {name: entry.line for name, entry in entries.items()})
    return schema


def _one_name_for_all_words(schema: Schema, read: "_Reader", lines: Mapping[str, int]) -> None:
    """The model's words must lead back to one name."""
    if not schema.intents:
        raise read.refuse(1, "`intents` is empty; name at least one.")
    if schema.out_of_scope in schema.intents:
        line = lines[schema.out_of_scope]
        raise read.refuse(line, f"`{schema.out_of_scope}` is what out_of_scope is called already.")
    seen: dict[str, str] = {schema.words(schema.out_of_scope): schema.out_of_scope}
    for name, kind in schema.intents.items():
        said = schema.words(name)
        if not said or seen.setdefault(said, name) != name:
            raise read.refuse(
                lines[name], f"`{name}` reads `{said}`, as `{seen.get(said)}` does; rename one."
            )
        slots = [words(slot) for slot in kind.slots]
        if len(set(slots)) < len(slots) or any(not slot or ":" in slot for slot in slots):
            raise read.refuse(
                lines[name], f"the slots of `{name}` must differ as words, without colons."
            )


def _composed(data: bytes, source: str) -> "yaml.Node | None":
    try:
        return yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise SettingsError(f"{source}: a schema is a text in UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise SettingsError(f"{source}, line {line}: not valid YAML: {error.problem}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise SettingsError(f"{source}: not valid YAML ({type(error).__name__}).") from None


@dataclass(frozen=True)
class _Entry:
    """A value of a mapping, and the line of its key."""

    node: "yaml.Node"
    line: int


@dataclass(frozen=True)
class _Reader:
    """Takes nodes apart; knows what the file is called."""

    source: str

    def refuse(self, line: int, text: str) -> SettingsError:
        return SettingsError(f"{self.source}, line {line}: {text}")

    def mapping(
        self, node: "yaml.Node | None", line: int, what: str, known: Collection[str] | None
    ) -> dict[str, _Entry]:
        """Keys and values; without `known` any name may be a key."""
        if not isinstance(node, yaml.MappingNode):
            raise self.refuse(line, f"{what} is written as `key: value` lines.")
        found: dict[str, _Entry] = {}
        for key_node, value in node.value:
            entry = _Entry(value, key_node.start_mark.line + 1)
            key = self.text(_Entry(key_node, entry.line))
            if known is not None and key not in known:
                raise self.refuse(entry.line, f"{what} has no key `{key}`. {near(key, known)}")
            if key in found:
                raise self.refuse(entry.line, f"`{key}` is there in line {found[key].line} too.")
            found[key] = entry
        return found

    def kind(self, name: str, entry: _Entry) -> IntentKind:
        """An intent; one with nothing more to say of it is written `name: {}`."""
        keys = self.mapping(entry.node, entry.line, f"the intent `{name}`", _KIND)
        return IntentKind(
            name=name,
            slots=self.texts(keys["slots"]) if "slots" in keys else (),
            description=self.text(keys["description"]) if "description" in keys else "",
            domain=self.text(keys["domain"]) if "domain" in keys else "",
            destructive="destructive" in keys and self.flag(keys["destructive"]),
        )

    def text(self, entry: _Entry) -> str:
        if not isinstance(entry.node, yaml.ScalarNode) or not str(entry.node.value).strip():
            raise self.refuse(entry.line, "a text stands here that is not empty.")
        return str(entry.node.value).strip()

    def texts(self, entry: _Entry) -> tuple[str, ...]:
        if not isinstance(entry.node, yaml.SequenceNode):
            raise self.refuse(entry.line, "a list stands here: [...].")
        return tuple(self.text(_Entry(node, node.start_mark.line + 1)) for node in entry.node.value)

    def flag(self, entry: _Entry) -> bool:
        if (said := self.text(entry)) not in ("true", "false"):
            raise self.refuse(entry.line, f"true or false stands here, found `{said}`.")
        return said == "true"

    def count(self, entry: _Entry) -> int:
        said = self.text(entry)
        if not (said.isascii() and said.isdecimal() and 1 <= int(said) <= 1000):
            raise self.refuse(entry.line, f"a number from 1 to 1000 stands here, found `{said}`.")
        return int(said)
