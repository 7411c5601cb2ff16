"""run.sh without running anything: what it says and refuses."""

import re
import subprocess
from pathlib import Path

from packaging.requirements import Requirement

PROJECT = Path(__file__).parents[1]
VERBS = [
    "setup",
    "foundation",
    "books",
    "simulate",
    "serve",
    "ask",
    "study",
    "test",
    "bench",
    "edge",
    "tune-cloud",
    "export-gguf",
]


def run_sh(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [str(PROJECT / "run.sh"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_help_names_every_verb() -> None:
    shown = run_sh("--help")
    assert shown.returncode == 0
    for verb in VERBS:
        assert re.search(rf"^  {verb} ", shown.stdout, re.MULTILINE), verb


def test_an_unknown_verb_is_wrong_use() -> None:
    refused = run_sh("simulte")
    assert refused.returncode == 2
    assert "There is no verb 'simulte'" in refused.stderr


def test_setup_knows_its_extras() -> None:
    import tomllib

    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    refused = run_sh("setup", "tensorbord")
    assert refused.returncode == 2
    for extra in project["optional-dependencies"]:
        assert extra in refused.stderr


def test_no_package_index_is_named() -> None:
    for file in ("run.sh", ".ci/run", "pyproject.toml", "configs/constraints.txt"):
        assert not re.search(r"https?://|index-url", (PROJECT / file).read_text()), file


def test_the_constraints_are_what_the_project_asks_for() -> None:
    import tomllib

    pins = {}
    for line in (PROJECT / "configs" / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, version = line.split("==")
            pins[name.lower().replace("_", "-")] = version
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    for text in project["dependencies"] + project["optional-dependencies"]["test"]:
        asked = Requirement(text)
        assert asked.specifier.contains(pins[asked.name.lower().replace("_", "-")]), text
