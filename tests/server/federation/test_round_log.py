"""rounds.jsonl survives a torn line; status.json is always whole."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from fl.errors import FederationError
from fl.release import Judgement
from fl.rounds import LateUpdate, RoundReport
from server.federation.gate import weigh
from server.federation.report import admitted, describe, left_out
from server.federation.round_log import RoundLog, read_status
from tests.fl.adapters import drawn, update

REPORT = RoundReport(
    round_number=1,
    release_number=1,
    method="fedavg",
    outcomes=(
        admitted(update(drawn(1)), norm=1.5, bytes_down=1000, bytes_up=900),
        left_out("rome", "all zero: the site did not learn", bytes_down=1000),
    ),
    mean_heldout_loss=2.0,
    aggregation_error=math.nan,
    aggregation_seconds=0.1,
    seconds=2.0,
)
VERDICT = weigh(
    1,
    0,
    {"oslo": Judgement(release_number=1, loss=2.31, current_number=0, current_loss=2.0)},
    tolerance=0.1,
)
FULL = replace(
    REPORT,
    round_number=2,
    release_number=2,
    attempt=2,
    verdict=VERDICT,
    late=(
        LateUpdate(site_id="kyiv", round_number=1, used=True, weight=10 / math.sqrt(2), reason=""),
        LateUpdate(site_id="bonn", round_number=1, used=False, weight=0.0, reason="all zero"),
    ),
)


def test_a_line_comes_back_with_what_is_not_known(tmp_path: Path) -> None:
    log = RoundLog(tmp_path)
    log.append(REPORT)
    text = (tmp_path / "rounds.jsonl").read_text()
    assert text.count("\n") == 1
    assert "NaN" not in text  # it is not JSON
    (back,) = log.reports()
    assert math.isnan(back.aggregation_error)
    assert math.isnan(back.outcomes[1].heldout_loss)
    assert replace(back, aggregation_error=0, outcomes=()) == replace(
        REPORT, aggregation_error=0, outcomes=()
    )
    assert back.outcomes[0] == REPORT.outcomes[0]


def test_a_torn_line_is_left_out_and_the_next_one_stands_by_itself(tmp_path: Path) -> None:
    log = RoundLog(tmp_path)
    log.append(REPORT)
    with open(tmp_path / "rounds.jsonl", "a") as stream:
        stream.write('{"round_number": 2, "rel')  # killed here
    log.append(replace(REPORT, round_number=2))
    assert [report.round_number for report in log.reports()] == [1, 2]


def test_a_line_of_an_older_version_has_defaults_and_one_of_a_newer_is_left_out(
    tmp_path: Path,
) -> None:
    log = RoundLog(tmp_path)
    log.append(FULL)
    (line,) = (tmp_path / "rounds.jsonl").read_text().splitlines()
    older, newer = json.loads(line), json.loads(line)
    for name in ("attempt", "late", "verdict"):
        del older[name]
    newer["round_number"] = 3
    newer["mood"] = "good"
    with open(tmp_path / "rounds.jsonl", "a") as stream:
        stream.write(json.dumps(older) + "\n" + json.dumps(newer) + "\n[1]\nnull\n")
    back = log.reports()
    assert [(r.attempt, r.late, r.verdict) for r in back] == [
        (2, FULL.late, FULL.verdict),
        (1, (), None),
    ]


def test_a_prepared_line_is_added_once_and_only_if_its_release_is_there(tmp_path: Path) -> None:
    log = RoundLog(tmp_path)
    log.prepare(REPORT)
    log.catch_up(newest_release=0)  # killed before the release was published
    assert log.reports() == ()
    for _ in range(2):
        log.prepare(REPORT)
        log.catch_up(newest_release=1)  # killed after it, or after its line
        assert [report.release_number for report in log.reports()] == [1]
        log.catch_up(newest_release=1)
    assert {file.name for file in tmp_path.iterdir()} == {"rounds.jsonl"}


def test_a_round_in_one_line() -> None:
    # down 1,000 bytes to each of two sites, up 900 from one
    assert describe(REPORT) == (
        "1 of 2 sites, held-out loss 2.000 nats/token, 3 kB, 2.0 s "
        "(training 0.1, transport 1.8, aggregation 0.1); "
        "left out: rome (all zero: the site did not learn)"
    )
    assert describe(FULL).split("; ")[1:] == [
        "release 1 kept back: oslo lost 0.31 nats/token against release 0",
        "attempt 2",
        "left out: rome (all zero: the site did not learn)",
        "late: kyiv's update of round 1 (weight 7.07), bonn's update of round 1 (all zero)",
    ]
    assert VERDICT is not None
    passed = replace(FULL, verdict=replace(VERDICT, passed=True))
    assert "; release 1 is current; " in describe(passed)


def test_a_status_of_an_older_version_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(
        '{"state": "completed", "run_id": "7", "step": "delivery", "rounds_done": 2, "rounds": 2, '
        '"replies": 4, "sites": 4, "message": ""}'
    )
    status = read_status(tmp_path)
    assert status is not None
    assert (status.pid, status.attempt, status.current_release, status.candidate) == (
        *(0, 1),
        *(None, None),
    )


def test_status_that_cannot_be_read_is_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(FederationError, match="cannot be read"):
        read_status(tmp_path)
