"""What an operator reads: list, show, verify and rollback, on a small federation made here."""

import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fl.adapter import digest
from fl.base_model import base_folder
from fl.errors import SettingsError
from fl.release import Verdict
from fl.settings import load
from fl.signing import signing_key
from server.__main__ import app
from server.federation.verdicts import Verdicts
from server.releases import Releases
from server.tuning.store import cloud_releases
from tests.fl.adapters import drawn
from tests.server.published import flip_a_bit, publish

MADE = r"\d{4}-\d\d-\d\d \d\d:\d\d"


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Settings of a run folder with four releases: 1 passed, 2 was kept back, 3 is a candidate."""
    given = [f"var={tmp_path}", f"keys={tmp_path / 'pki'}"]
    settings = load(given)
    folder = settings.run_dir / "federations" / "001"
    releases = Releases(folder / "releases", federation="001", key=signing_key(settings))
    for number in range(4):
        publish(releases, number)
        if number in (1, 2):
            verdict = Verdict(
                release_number=number,
                current_number=number - 1,
                passed=number == 1,
                reason=f"release {number} was looked at",
                sites=8,
                worst_site="oslo",
                worst_rise=-0.25 if number == 1 else 0.5,
            )
            Verdicts(folder).keep(verdict)
            move = releases.promote if verdict.passed else releases.reject
            move(number, why=verdict.reason)
    return given


def folder(words: list[str]) -> Path:
    return load(words).run_dir / "federations" / "001" / "releases"


def shown(verb: str, *arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["releases", verb, *arguments])
    assert result.exit_code == code, result.output
    return result.output


def test_list_has_a_line_a_release(words: list[str]) -> None:
    lines = shown("list", *words).splitlines()
    assert lines[0] == f"federation 001, {folder(words)}"
    rows = [re.split(r"  +", line.strip()) for line in lines[2:]]
    cells = [[cell for cell in row if not re.fullmatch(MADE, cell)] for row in rows]
    assert [len(row) for row in rows] == [len(row) + 1 for row in cells]
    digests = [digest(drawn(number))[:12] for number in range(4)]
    assert cells[0] == ["0", "0", "initial", "previous", "2 kB", digests[0]]
    assert cells[3] == ["3", "3", "fedavg", "candidate", "1.6250", "2 kB", digests[3]]
    assert cells[1][:6] == ["1", "1", "fedavg", "current", "1.8750", "2 kB"]
    assert cells[1][6:] == [digests[1], "passed: -0.25 nats/token at oslo, worst of 8, against 0"]
    assert cells[2][-1] == "kept back: +0.5 nats/token at oslo, worst of 8, against 1"


def test_list_and_verify_name_what_is_damaged(words: list[str]) -> None:
    assert "current: release 1" in shown("verify", *words)
    flip_a_bit(folder(words) / "1")
    assert shown("list", *words).count("DAMAGED: ") == 1
    lines = shown("verify", *words, code=1).splitlines()
    assert lines[1] == f"  release 0: good, 4 files, digest {digest(drawn(0))[:12]}"
    said = r"  release 1: DAMAGED: .*/1: adapter_model\.safetensors has sha256 .* or exchanged\."
    assert re.fullmatch(said, lines[2])
    assert lines[-1].startswith("  current: ")


def test_show_has_the_manifest_the_verdict_and_how_to_load_it(words: list[str]) -> None:
    text = shown("show", "2", *words)
    release = folder(words) / "2"
    assert text.startswith("release 2 of federation 001: not in use\n")
    assert "verdict: release 2 was looked at" in text
    assert (release / "manifest.json").read_text() in text
    assert f'PeftModel.from_pretrained(base, "{release}")' in text
    assert shown("show", *words).startswith("release 1 of federation 001: current\n")


def test_rollback_says_what_is_current_now(words: list[str]) -> None:
    was = "federation 001: release 0 is current now (before: release 1).\n"
    assert shown("rollback", *words, "--why", "oslo complains") == was
    assert "release 0 is current already" in shown("rollback", *words)
    assert (folder(words) / "current").read_text() == "0\n"
    assert "oslo complains" in (folder(words) / "history.jsonl").read_text()
    assert "release 3 is current now" in shown("rollback", "3", *words)


@pytest.mark.parametrize("arguments", [["show", "one"], ["rollback", "1", "2"]])
def test_wrong_use_is_exit_code_2(arguments: list[str], words: list[str]) -> None:
    shown(*arguments, *words, code=2)


def test_a_wrong_setting_is_said_by_main() -> None:
    result = CliRunner().invoke(app, ["releases", "list", "vra=x"])
    assert isinstance(result.exception, SettingsError)  # which main turns into exit code 2


def test_the_clouds_own_releases_are_one_more_federation(words: list[str]) -> None:
    settings = load(words)
    own = cloud_releases(settings, signing_key(settings))
    for number in range(2):
        publish(own, number)
    own.promote(1, why="better")
    cloud = ("--federation", "cloud", *words)
    assert shown("list", *cloud).startswith(
        f"federation cloud, {settings.run_dir}/cloud/releases\n"
    )
    assert "release 1: good, 4 files" in shown("verify", *cloud)
    text = shown("show", *cloud)
    assert text.startswith("release 1 of federation cloud: current\n")
    assert f'AutoModelForCausalLM.from_pretrained("{base_folder(settings, "cloud")}")' in text
    said = "federation cloud: release 0 is current now (before: release 1).\n"
    assert shown("rollback", *cloud) == said
    assert shown("list", *words).startswith("federation 001, ")  # the newest federation
    flip_a_bit(own.folder / "0")
    shown("verify", *cloud, code=1)


def test_a_federation_that_is_not_there_names_those_that_are(words: list[str]) -> None:
    result = CliRunner().invoke(app, ["releases", "list", "--federation", "007", *words])
    assert result.exit_code == 1
    assert "no federation 007 in" in str(result.exception)
    assert "There is: 001." in str(result.exception)
