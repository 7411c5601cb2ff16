"""Workflow files of the tests: the shipped one, changed in a few words."""

from pathlib import Path

from clients.workflow.checks import check
from clients.workflow.workflow import Workflow
from clients.workflow.workflow_file import parse

CONFIGS = Path(__file__).parents[3] / "configs"
DEFAULT = (CONFIGS / "workflow.yaml").read_text()
ALWAYS = (CONFIGS / "workflow_always_answers.yaml").read_text()


def changed(*changes: tuple[str, str], text: str = DEFAULT) -> str:
    """The file with words replaced, each where it stands first."""
    for before, after in changes:
        assert before in text, before
        text = text.replace(before, after, 1)
    return text


def without(name: str, text: str = DEFAULT) -> str:
    """The file without one step."""
    lines, kept, inside = text.splitlines(), [], False
    for line in lines:
        if line.startswith("  ") and line[2] not in " #":
            inside = line.strip().startswith(f"{name}:")
        if not inside:
            kept.append(line)
    assert len(kept) < len(lines)
    return "\n".join(kept) + "\n"


def of(step: str, key: str, value: str, text: str = DEFAULT) -> str:
    """The file with one key of one step set to this."""
    lines = text.splitlines()
    begins = next(i for i, line in enumerate(lines) if line.startswith(f"  {step}:"))
    at = begins + 1
    while at < len(lines) and lines[at].startswith("    "):
        if lines[at].strip().startswith(f"{key}:"):
            lines[at] = f"    {key}: {value}"
            return "\n".join(lines) + "\n"
        at += 1
    lines.insert(begins + 1, f"    {key}: {value}")
    return "\n".join(lines) + "\n"


def workflow(text: str) -> Workflow:
    """A checked workflow. Raises WorkflowError."""
    found = parse(text.encode(), source="w.yaml")
    check(found)
    return found
