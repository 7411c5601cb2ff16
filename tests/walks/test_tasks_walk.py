"""The walk of an update for the by-products: learned by real processes, read at the site."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from clients.adapter_shelf import open_shelf
from fl.settings import Settings, load, with_task
from fl.tasks import COMPLETE, INTENT, TREND
from server.federation.round_log import RoundLog
from server.releases import Releases
from tests.faults.deployed import federate
from tests.walks.test_federate import RECORD_FOLDER
from tests.walks.test_simulation import simulate
from tests.walks.tiny_federation import CANARY, COUNT, SITES, make_tiny_federation

# In every text; and all counts, which are whole numbers of that size.
PRIVATE = re.compile(rb"%b|(?<![\d.])%b\d{3}(?!\d)" % (CANARY.encode(), str(COUNT)[:4].encode()))


def learned(settings: Settings) -> None:
    """A release of the task alone, on every site's shelf of it."""
    (report,) = RoundLog(settings.federations_dir / "001").reports()
    assert [one.site_id for one in report.outcomes if one.admitted] == list(SITES)
    folder = settings.federations_dir / "001" / "releases"
    assert Releases(folder, federation="001", task=settings.task).current_number() == 1
    for site in SITES:
        assert open_shelf(settings, site, "001").current_number() == 1
    plain = with_task(settings, COMPLETE)
    assert not plain.federations_dir.exists()
    assert not (plain.run_dir / "sites" / "elm" / "shelf" / "001").exists()


def nothing_private(folder: Path) -> None:
    looked_at = 0
    for file in folder.rglob("*"):
        if file.is_file():
            looked_at += 1
            raw = file.read_bytes()
            assert not PRIVATE.search(raw), file
    assert looked_at > 10


@pytest.mark.slow
def test_intents_learned_in_a_simulation_are_read_by_the_verb(tmp_path: Path) -> None:
    arguments = [*make_tiny_federation(tmp_path), "rounds=1"]
    with simulate(*arguments, "task=intent") as process:
        out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "round 1 of 1: 2 of 2 sites" in out
    learned(load([*arguments, "task=intent"]))
    verb = [sys.executable, "-m", "clients", "intent"]
    read = subprocess.run(
        [*verb, f"drop {CANARY} to gate7", "site=ash", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert read.returncode == 0, read.stderr
    assert set(json.loads(read.stdout)) == {"intent", "slots", "confidence"}
    assert CANARY not in read.stderr
    nothing_private(tmp_path / "var")


@pytest.mark.slow
def test_trends_learned_by_a_deployment_at_a_rank_of_their_own(tmp_path: Path) -> None:
    """Nobody says a rank: the cloud and every site take the task's, and nothing private travels."""
    make_tiny_federation(tmp_path)
    config = tmp_path / "tiny.yaml"
    config.write_text(re.sub(r"rank: 2, personal_rank: 2, alpha: 4.0, ", "", config.read_text()))
    wire = tmp_path / "wire"
    wire.mkdir()
    recording = {"PYTHONPATH": str(RECORD_FOLDER), "RECORD_TO": str(wire)}
    with federate(tmp_path, "rounds=1", "task=trend", environment=recording) as deployed:
        assert deployed.finish() == 0, deployed.output
        settings, output = deployed.settings, deployed.output
    assert settings.learning.rank == 32
    learned(settings)
    sent = b"".join(file.read_bytes() for file in wire.iterdir())
    assert b"lora_A" in sent
    assert not PRIVATE.search(sent)
    assert CANARY not in output
    nothing_private(settings.var_dir)
    assert with_task(settings, INTENT).federations_dir.parent.name == INTENT
    assert settings.task == TREND
