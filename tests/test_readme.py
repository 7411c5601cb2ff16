"""The README's tree names every file, its commands exist, and so do the settings it uses."""

import re
import subprocess
from pathlib import Path
from typing import Any

from fl.choices import load_fitting
from fl.settings import load

PROJECT = Path(__file__).parents[1]
# What some verbs take besides settings.
OF_VERBS = "slow site book jsonl out intents apply yes confirm undo audit".split()
README = (PROJECT / "README.md").read_text()


def tree() -> list[str]:
    """Paths of the README's tree: two blanks a level, then a name, then what it is."""
    block = README.split("## The tree")[1].split("```")[1]
    folders: list[str] = []
    paths = []
    for line in block.strip("\n").splitlines():
        name = line.split()[0]
        depth = (len(line) - len(line.lstrip())) // 2
        del folders[depth:]
        if name.endswith("/"):
            folders.append(name)
        else:
            paths.append("".join(folders) + name)
    return paths


def test_the_tree_is_current() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "fl", "clients", "server", "configs"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    files = [f for f in listed.stdout.split() if not re.search(r"_pb2|__init__\.py", f)]
    assert sorted(tree()) == sorted(files)


def test_every_command_is_a_verb_and_every_setting_exists() -> None:
    usage = (PROJECT / "run.sh").read_text()
    commands = re.findall(r"\./run\.sh((?: [^\s`#]+)*)", README)
    assert len(commands) > 8
    for command in commands:
        words = command.split()
        if words and "=" not in words[0] and words[0].isalpha() and words[0].islower():
            assert re.search(rf"^  {words[0]} ", usage, re.MULTILINE), words[0]
        if words[:2] == ["profile", "set"]:
            continue  # what follows are facts of a person
        # paths of the reader's own are not there: their keys are checked, not their values
        keys = [
            w
            for w in words
            if re.fullmatch(r"[a-z_.]+=\S+", w) and w.partition("=")[0] not in OF_VERBS
        ]
        load([w for w in keys if not re.search("/models/|/etc/", w)])


def test_the_choices_that_are_shown_go_together() -> None:
    shown = re.findall(r"^\./run\.sh simulate (.+)$", README, re.MULTILINE)
    assert len(shown) >= 3
    for arguments in shown:
        load_fitting(arguments.split())


def test_the_library_is_used_as_shown() -> None:
    block = (
        README.split("The library is `fl/aggregation`")[1].split("```python\n")[1].split("```")[0]
    )
    names: dict[str, Any] = {}
    exec(block, names)
    assert (names["made"].shared.spec.rank, names["made"].error) == (24, 0.0)
