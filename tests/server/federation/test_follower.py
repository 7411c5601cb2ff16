"""What a person sees of a federation that takes several runs."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Message
from rich.console import Console

from fl.errors import FederationError
from fl.flower_records import CONTRIBUTE
from fl.settings import Settings
from server.federation.follower import Follower
from server.federation.round_log import RoundLog, read_status
from server.federation.strategy import STOPPED, federate
from tests.direct_grid import DirectGrid, simulated_nodes
from tests.server.federation.fake_sites import FakeSites, asked, fake_settings, is_of


def carry_out(settings: Settings, sites: FakeSites, *, run_id: str, killed_in: int = 0) -> None:
    """One run of federation 001; `killed_in` this round, if any."""

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, CONTRIBUTE) and asked(request)[1].round_number == killed_in:
            raise SystemExit
        return reply

    folder = settings.run_dir / "federations" / "001"
    flower = DirectGrid(sites.app, simulated_nodes(4, {}), tamper=tamper)
    federate(flower, settings, folder=folder, run_id=run_id)


def test_rounds_are_shown_once_over_two_runs_of_a_federation(tmp_path: Path) -> None:
    settings, output, sites = fake_settings(tmp_path, "rounds=3"), io.StringIO(), FakeSites()
    federations = settings.run_dir / "federations"
    console = Console(file=output, width=60)
    with Follower(federations, rounds=3, sites=4, console=console) as follower:
        follower.follow("7")
        assert not follower.ended()  # nothing there yet
        with pytest.raises(SystemExit):
            carry_out(settings, sites, run_id="7", killed_in=3)
        assert follower.ended()
        assert follower.status is not None
        assert (follower.status.state, follower.status.message) == ("failed", STOPPED)

        follower.follow("8")
        assert not follower.ended()  # what stands there is of the run before
        carry_out(settings, sites, run_id="8")
        assert follower.ended()
        follower.close("too late to matter")
    assert follower.status == read_status(federations / "001")
    lines = output.getvalue().splitlines()
    assert [line.split(":")[0].strip() for line in lines] == [
        *("round 1 of 3", "round 2 of 3", "round 3 of 3"),
        "release 3 is current",
    ]
    assert "4 of 4 sites" in lines[0]
    assert lines[2].endswith("release 2 is current")


def test_a_run_that_was_ended_from_outside_gets_its_terminal_state(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path, "rounds=1")
    carry_out(settings, FakeSites(), run_id="7")
    folder = settings.run_dir / "federations" / "001"
    status = read_status(folder)
    assert status is not None
    RoundLog(folder).set_status(replace(status, state="running"))
    console = Console(file=io.StringIO())
    (folder.parent / "002").mkdir()
    (folder.parent / "002" / "status.json").write_text(json.dumps({"of": "another version"}))
    with Follower(folder.parent, rounds=1, sites=4, console=console) as follower:
        follower.follow("7")
        assert not follower.ended()
        follower.close("it was stopped before its end")
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.message) == ("failed", "it was stopped before its end")
    with pytest.raises(FederationError):
        read_status(folder.parent / "002")
