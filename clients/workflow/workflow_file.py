"""A workflow file (YAML) -> a checked `Workflow`; every refusal names its file and line.

deadline_s: 300
steps:
  enrich:                 # a name of one's own; the kind of step, unless `does` says another
    takes: [short, card]
    privacy: private
    fallback: refuse
"""

import hashlib
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from clients.workflow.checks import check
from clients.workflow.near import near
from clients.workflow.steps import REFUSE, REQUEST
from clients.workflow.workflow import StepSpec, Word, Workflow, WorkflowError
from fl.settings import Settings, resolve

ASKING = "asking.timeout_s"  # the setting that a step without a deadline has
LARGEST = 100_000  # bytes

_TOP = ("deadline_s", "steps")
_STEP = ("does", "takes", "after", "modes", "mode", "deadline_s", "privacy", "fallback")
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")  # it goes into traces, which hold no text


def workflow_of(settings: Settings) -> Workflow:
    """The workflow that the settings name. Raises WorkflowError."""
    return read_workflow(resolve(settings.workflow), source=settings.workflow)


def read_workflow(file: Path, *, source: str) -> Workflow:
    """A file's workflow, checked; errors call it `source`. Raises WorkflowError."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise WorkflowError(
            f"{source}: the workflow cannot be read ({error.strerror}). "
            "Let the setting `workflow` name a YAML file; configs/workflow.yaml is the default."
        ) from None
    workflow = parse(data, source=source)
    check(workflow)
    return workflow


def parse(data: bytes, *, source: str) -> Workflow:
    """The bytes of a file as a workflow whose words are not checked yet. Raises WorkflowError."""
    if len(data) > LARGEST:
        raise WorkflowError(
            f"{source}: a workflow has {LARGEST} bytes at the most, found {len(data)}."
        )
    read = _Reader(source)
    top = read.mapping(_composed(data, source), "a workflow", _TOP)
    if "steps" not in top:
        raise read.refuse(1, "a workflow has `steps:`; there are none.")
    steps = top["steps"]
    named = read.mapping(steps.value, "`steps`", None)
    if not named:
        raise read.refuse(steps.line, "`steps` is empty; name the steps of asking.")
    whole = top.get("deadline_s")
    return Workflow(
        source=source,
        digest=hashlib.sha256(data).hexdigest()[:12],
        line=steps.line,
        steps=tuple(read.step(name, entry) for name, entry in named.items()),
        deadline_s=read.seconds(whole) if whole else None,
    )


def _composed(data: bytes, source: str) -> "yaml.Node | None":
    try:
        return yaml.compose(data.decode("utf-8"), Loader=yaml.SafeLoader)
    except UnicodeDecodeError:
        raise WorkflowError(f"{source}: a workflow is a text in UTF-8.") from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise WorkflowError(f"{source}, line {line}: not valid YAML: {error.problem}.") from None
    except (yaml.YAMLError, RecursionError) as error:
        raise WorkflowError(f"{source}: not valid YAML ({type(error).__name__}).") from None


@dataclass(frozen=True)
class _Entry:
    """A value of a mapping, and the line of its key."""

    value: "yaml.Node"
    line: int


@dataclass(frozen=True)
class _Reader:
    """Takes nodes apart; knows what the file is called."""

    source: str

    def refuse(self, line: int, text: str) -> WorkflowError:
        return WorkflowError(f"{self.source}, line {line}: {text}")

    def mapping(
        self, node: "yaml.Node | None", what: str, known: Collection[str] | None
    ) -> dict[str, _Entry]:
        """Keys and values; without `known` any name may be a key."""
        if not isinstance(node, yaml.MappingNode):
            line = node.start_mark.line + 1 if node else 1
            raise self.refuse(line, f"{what} is written as `key: value` lines.")
        found: dict[str, _Entry] = {}
        for key_node, value in node.value:
            key, line = self.word(key_node)
            if known is not None and key not in known:
                raise self.refuse(line, f"{what} has no key `{key}`. {near(key, known)}")
            if key in found:
                raise self.refuse(line, f"`{key}` stands here twice; line {found[key].line} too.")
            found[key] = _Entry(value, line)
        return found

    def step(self, name: str, entry: _Entry) -> StepSpec:
        if not _NAME.fullmatch(name):
            raise self.refuse(
                entry.line,
                "the name of a step is a lower-case letter and up to 31 letters, digits and '-'.",
            )
        keys = self.mapping(entry.value, f"step {name}", _STEP)
        if "privacy" not in keys:
            raise self.refuse(
                entry.line,
                f"step {name} does not say its privacy: private, disclosed or open.",
            )
        deadline = keys.get("deadline_s")
        return StepSpec(
            name=name,
            line=entry.line,
            does=self._one(keys, "does", Word(text=name, line=entry.line)),
            takes=self._many(keys, "takes"),
            after=self._many(keys, "after"),
            modes=self._many(keys, "modes"),
            deadline_s=self.seconds(deadline) if deadline else None,
            privacy=self._one(keys, "privacy", Word(text="", line=entry.line)),
            fallback=self._one(keys, "fallback", Word(text=REFUSE, line=entry.line)),
            mode=self._one(keys, "mode", Word(text=REQUEST, line=entry.line)),
        )

    def seconds(self, entry: _Entry) -> float | None:
        text, line = self.word(entry.value)
        if text == ASKING:
            return None
        try:
            seconds = float(text)
        except ValueError:
            seconds = math.nan
        if not (seconds > 0 and math.isfinite(seconds)):
            raise self.refuse(
                line, f"`deadline_s` is seconds above 0, or {ASKING}; found `{text}`."
            )
        return seconds

    def word(self, node: "yaml.Node") -> tuple[str, int]:
        line = node.start_mark.line + 1
        if not isinstance(node, yaml.ScalarNode):
            raise self.refuse(line, "one word stands here, found a list or a mapping.")
        return str(node.value), line

    def _one(self, keys: Mapping[str, _Entry], key: str, default: Word) -> Word:
        if key not in keys:
            return default
        text, line = self.word(keys[key].value)
        return Word(text=text, line=line)

    def _many(self, keys: Mapping[str, _Entry], key: str) -> tuple[Word, ...]:
        if key not in keys:
            return ()
        node = keys[key].value
        if not isinstance(node, yaml.SequenceNode):
            raise self.refuse(keys[key].line, f"`{key}` is a list: [...]; found no list.")
        words = tuple(Word(text=t, line=n) for t, n in map(self.word, node.value))
        texts = [word.text for word in words]
        twice = next((w for at, w in enumerate(words) if w.text in texts[:at]), None)
        if twice is not None:
            raise self.refuse(twice.line, f"`{key}` names {twice.text} twice.")
        return words
