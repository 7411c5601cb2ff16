"""The `simulate` verb for real: SuperLink, Ray, worker processes. Slow to start: a smoke."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import psutil
import pytest

from fl.process_group import MARKS, end_orphans
from fl.settings import load
from server.federation.round_log import RoundLog, read_status
from server.releases import Releases
from tests.walks.tiny_federation import CANARY, SITES, make_tiny_federation


@contextmanager
def simulate(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the verb in a process of its own, as run.sh does."""
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "simulate", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:  # a test that fails leaves nothing behind either
        process.kill()
        process.wait()
        for other in started_by(process.pid):
            other.kill()


def started_by(pid: int) -> list[psutil.Process]:
    """Processes that run and that the simulation of this process id started."""
    found = []
    for process in psutil.process_iter():
        try:
            marks = process.environ().get(MARKS, "").split(";")
        except psutil.Error:
            continue
        if any(mark.startswith(f"{pid} ") for mark in marks):
            found.append(process)
    return found


def listening(pid: int) -> set[IPv4Address | IPv6Address]:
    """Addresses on which the processes of a simulation listen."""
    found = set()
    for process in started_by(pid):
        for connection in process.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN:
                found.add(ip_address(connection.laddr.ip.removeprefix("::ffff:")))
    return found


def test_a_whole_simulation(tmp_path: Path) -> None:
    arguments = [*make_tiny_federation(tmp_path), "rounds=1"]
    with simulate(*arguments) as process:
        out, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert "round 1 of 1: 2 of 2 sites, held-out loss" in out

    settings = load(arguments)
    folder = settings.run_dir / "federations" / "001"
    (report,) = RoundLog(folder).reports()
    assert [outcome.site_id for outcome in report.outcomes] == list(SITES)
    assert Releases(folder / "releases", federation="001").current_number() == 1
    status = read_status(folder)
    assert status is not None
    assert status.state == "completed"
    # nothing is left running, and no prompt stands in any log
    assert started_by(process.pid) == []
    logs = list((settings.var_dir / "logs").rglob("*.log"))
    assert logs
    for file in logs:
        assert CANARY not in file.read_text(errors="replace")


def test_what_is_missing_fails_at_once_with_one_sentence(tmp_path: Path) -> None:
    arguments = make_tiny_federation(tmp_path)
    (tmp_path / "ash.jsonl").unlink()
    with simulate(*arguments) as process:
        out, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert out == ""
    assert errors.startswith("Site ash has no prompt book")
    assert len(errors.splitlines()) == 1


def test_a_mistyped_key_is_wrong_use() -> None:
    with simulate("ruonds=8") as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "Did you mean rounds?" in errors


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_running(tmp_path: Path, sent: signal.Signals) -> None:
    arguments = [*make_tiny_federation(tmp_path), "rounds=500"]
    folder = load(arguments).run_dir / "federations" / "001"
    with simulate(*arguments) as process:
        until = time.monotonic() + 120
        while not RoundLog(folder).reports():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < until, "no round was finished"
            time.sleep(0.2)
        assert not {where for where in listening(process.pid) if not where.is_loopback}
        os.kill(process.pid, sent)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert started_by(process.pid) == []
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.message) == ("failed", "it was stopped before its end")


@pytest.mark.slow
def test_what_a_killed_simulation_leaves_is_ended_by_the_next(tmp_path: Path) -> None:
    arguments = make_tiny_federation(tmp_path)
    flower = tmp_path / "var" / "flwr"
    with simulate(*arguments, "rounds=500") as process:
        while not any("raylet" in p.name() for p in started_by(process.pid)):
            assert process.poll() is None, process.communicate()
            time.sleep(0.2)
        process.kill()
        process.communicate(timeout=60)
    assert started_by(process.pid)
    end_orphans(flower)
    assert started_by(process.pid) == []
    assert list(flower.iterdir()) == []


@pytest.mark.slow
def test_a_run_whose_sites_all_fail_is_a_failure(tmp_path: Path) -> None:
    arguments = make_tiny_federation(tmp_path)
    for site in SITES:
        (tmp_path / f"{site}.jsonl").write_text("not json\n")
    with simulate(*arguments) as process:
        _, errors = process.communicate(timeout=240)
    assert process.returncode == 1
    assert "0 of 2 sites were admitted" in errors
    assert "elm (the site failed: BookError)" in errors
    (log,) = (tmp_path / "var" / "logs").rglob("*.log")
    assert "FederationError" in log.read_text()  # the ServerApp's own words are kept
    assert started_by(process.pid) == []
