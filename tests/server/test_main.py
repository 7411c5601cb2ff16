"""The cloud's verbs: what --help says, and exit codes."""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from server.__main__ import app


@pytest.mark.parametrize("verb", ["foundation", "simulate", "serve", "tune-cloud"])
def test_help_says_what_a_verb_reads_and_writes(verb: str) -> None:
    shown = CliRunner().invoke(app, [verb, "--help"])
    assert shown.exit_code == 0
    assert "Reads" in shown.output
    assert "Writes" in shown.output
    assert "KEY=VALUE" in shown.output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["simulate", "ruonds=8"], "Did you mean rounds?"),
        (["simulate", "rounds"], "Expected key=value"),
        (["simulate", "--nonsense"], "No such option"),
        (["simulte"], "No such command"),
    ],
)
def test_wrong_use_is_exit_code_2(arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "server", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert said in done.stderr


def test_a_failure_is_one_sentence_and_exit_code_1(tmp_path: object) -> None:
    command = [sys.executable, "-m", "server", "simulate", f"edge.model={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "holds no base model" in done.stderr
