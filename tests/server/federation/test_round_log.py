"""rounds.jsonl survives a torn line; status.json is always whole."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from fl.errors import FederationError
from fl.rounds import RoundReport
from server.federation.report import admitted, describe, left_out
from server.federation.round_log import RoundLog, read_status
from tests.fl.adapters import drawn, update

REPORT = RoundReport(
    round_number=1,
    release_number=1,
    method="fedavg",
    outcomes=(
        admitted(update(drawn(1)), norm=1.5, bytes_down=1000),
        left_out("rome", "all zero: the site did not learn", bytes_down=1000),
    ),
    mean_heldout_loss=2.0,
    aggregation_error=math.nan,
    aggregation_seconds=0.1,
    seconds=2.0,
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


def test_a_round_in_one_line() -> None:
    size = sum(t.nbytes for t in drawn(1).tensors.values())
    assert describe(REPORT) == (
        f"1 of 2 sites, held-out loss 2.000 nats/token, {(2000 + size) / 1000:,.0f} kB, 2.0 s; "
        "left out: rome (all zero: the site did not learn)"
    )


def test_status_that_cannot_be_read_is_an_error_and_none_is_none(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(FederationError, match="cannot be read"):
        read_status(tmp_path)
