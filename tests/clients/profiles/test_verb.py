"""The verbs `profile`, as somebody types them; no service runs."""

import json
import stat
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from clients.__main__ import app

WISH = "a window seat, by the wall = quiet"


def run(var: Path, *words: str, site: str = "thorn-hill") -> Result:
    setting = ["--setting", f"var={var}"] if words[0] == "set" else [f"var={var}"]
    return CliRunner().invoke(app, ["profile", *words, *setting, "--site", site])


def test_a_profile_from_its_making_to_its_end(tmp_path: Path) -> None:
    var = tmp_path / "var"
    assert run(var, "set", "ada", "person=Ada", f"wish={WISH}").exit_code == 0
    assert run(var, "set", "ada", "person=", "diet=no nuts").exit_code == 0
    assert run(var, "set", "ben", "name=Ben", "seed=poppy").exit_code == 0  # facts, no settings
    assert run(var, "list").stdout.split() == ["ada", "ben"]
    shown = run(var, "show", "ada").stdout
    assert WISH in shown
    assert "Ada" not in shown
    exported = json.loads(run(var, "export", "ada").stdout)
    assert exported["facts"] == {"wish": WISH, "diet": "no nuts"}
    assert exported["person"] == "ada"
    file = tmp_path / "out" / "ada.json"
    assert str(file) in run(var, "export", "ada", "--to", str(file)).stdout
    assert json.loads(file.read_text()) == exported
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run(var, "list", site="").stdout == ""  # the first site's, who has none
    assert run(var, "erase", "ada").exit_code == 0
    assert run(var, "list").stdout.split() == ["ben"]
    assert not [f for f in var.rglob("*") if f.is_file() and b"window" in f.read_bytes()]


@pytest.mark.parametrize(
    ("words", "site", "says"),
    [
        (["show", "ada"], "thorn-hill", "no profile of that person"),
        (["erase", "ada"], "thorn-hill", "no profile of that person"),
        (["export", "../ada"], "thorn-hill", "no profile of that person"),
        (["set", "Ada", "wish=x"], "thorn-hill", "1 to 40 of a-z"),
        (["set", "ada", "wish"], "thorn-hill", "each fact once"),
        (["set", "ada", "wish=a", "wish=b"], "thorn-hill", "each fact once"),
        (["set", "ada", "last=cafe"], "thorn-hill", "Choose another"),
        (["list"], "atlantis", "There is no site 'atlantis'"),
    ],
)
def test_what_is_refused(tmp_path: Path, words: list[str], site: str, says: str) -> None:
    refused = run(tmp_path / "var", *words, site=site)
    assert says in str(refused.exception)
    assert not (tmp_path / "var").exists()
