"""The `federate` verb for real: SuperLink with TLS, registered keys, edge services, SuperNodes."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fl.settings import load
from server.federation.round_log import RoundLog
from tests.faults.deployed import federate
from tests.walks.tiny_federation import CANARY, SITES, make_tiny_federation

RECORD_FOLDER = Path(__file__).parents[1] / "faults" / "record"


def test_a_whole_deployment(tmp_path: Path) -> None:
    """Two rounds with real processes; and of what stands in the books nothing goes anywhere."""
    wire = tmp_path / "wire"
    wire.mkdir()
    recording = {"PYTHONPATH": str(RECORD_FOLDER), "RECORD_TO": str(wire)}
    with federate(tmp_path, "rounds=2", environment=recording) as deployed:
        assert deployed.finish() == 0, deployed.output
        settings, folder, output = deployed.settings, deployed.folder, deployed.output
        assert deployed.processes() == []  # it has stopped all it started

    # 1. What it said.
    for line in ("round 1 of 2: 2 of 2 sites", "round 2 of 2: 2 of 2 sites", "federation 001"):
        assert line in output
    for word in ("held-out loss", "kB", "training", "transport", "aggregation"):
        assert word in output

    # 2. What it made: releases that passed the gate, delivered to every site.
    reports = RoundLog(folder).reports()
    assert [[o.site_id for o in report.outcomes if o.admitted] for report in reports] == [
        list(SITES),
        list(SITES),
    ]
    assert all(r.training_seconds > 0 and r.transport_seconds > 0 for r in reports)
    assert (folder / "releases" / "current").read_text() == "2\n"
    assert len((folder / "deliveries.json").read_text()) > 10

    # 3. Keys: private files for their owner alone.
    private = [*settings.keys_dir.rglob("*.key"), *settings.keys_dir.rglob("*.ssh")]
    assert len(private) == 3 + 2 * len(SITES)
    assert {stat.S_IMODE(file.stat().st_mode) for file in private} == {0o600}

    # 4. The canary stands in every prompt. A site's own folder may hold it; nothing else does.
    sent = b"".join(file.read_bytes() for file in wire.iterdir())
    assert b"/v1/fleet/push-object" in sent
    assert b"lora_A" in sent  # so the recording does see what is inside of messages
    assert CANARY.encode() not in sent
    looked_at = 0
    for file in settings.var_dir.rglob("*"):
        if file.is_file():
            looked_at += 1
            assert CANARY.encode() not in file.read_bytes(), file
    assert looked_at > 30
    assert CANARY not in output


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    arguments = make_tiny_federation(tmp_path)
    with federate(tmp_path, "rounds=2") as first:
        first.until(lambda: (first.settings.run_dir / "flower").is_dir())
        first.until(lambda: first.processes("flower-superlink"))
        second = subprocess.run(
            [sys.executable, "-m", "server", "federate", *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert "another cloud" in second.stderr.lower()
        assert f"{first.process.pid}" in second.stderr


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_stops_all_within_ten_seconds(tmp_path: Path, sent: signal.Signals) -> None:
    with federate(tmp_path, "rounds=500", "learning.local_steps=400") as deployed:
        deployed.until_training(1, "elm")
        os.kill(deployed.process.pid, sent)
        asked = time.monotonic()
        assert deployed.finish(seconds=30) != 0
        # a promise of the product, not a benchmark: twice the margin, for a busy machine
        assert time.monotonic() - asked < 20
        assert deployed.processes() == []
        status = deployed.status
        assert status is not None
        assert (status.state, status.message) == ("failed", "it was stopped before its end")


def test_resume_needs_something_to_go_on_with(tmp_path: Path) -> None:
    arguments = make_tiny_federation(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "server", "federate", *arguments, "--resume"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("There is no federation in")
    assert not (load(arguments).run_dir / "federations" / "001").exists()
