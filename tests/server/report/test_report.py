"""The round report: numbers worked out by hand, a picture, and the verb from a log on disk."""

import importlib.util
import io
import math
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from fl.aggregation.telemetry import Telemetry
from fl.errors import FederationError, SettingsError
from fl.rounds import RoundReport, SiteOutcome
from fl.settings import load
from server.federation.federation import open_federation
from server.federation.readiness import require_model
from server.federation.round_log import RoundLog, read_status
from server.federation.tensorboard import TensorBoardSink
from server.report.figures import picture
from server.report.markdown import markdown, mean_cosine, summary
from server.report.verb import report
from tests.direct_grid import DirectGrid, simulated_nodes
from tests.server.federation.fake_sites import FakeSites, fake_settings


def outcome(site: str, loss: float, *, dropped: str = "") -> SiteOutcome:
    return SiteOutcome(
        site_id=site,
        admitted=True,
        reason="",
        num_examples=40,
        train_loss=1.0,
        heldout_loss=loss,
        update_norm=1.0,
        bytes_down=3000,
        bytes_up=2000,
        seconds=2.0,
        rank=8,
        dropped=dropped,
    )


def round_report(number: int, *losses: float) -> RoundReport:
    sites = ("bonn", "oslo", "rome")
    cosines = ((1.0, 0.5, -0.1), (0.5, 1.0, 0.0), (-0.1, 0.0, 1.0))
    return RoundReport(
        round_number=number,
        release_number=number,
        method="fedavg",
        outcomes=tuple(outcome(s, x) for s, x in zip(sites, losses, strict=True)),
        mean_heldout_loss=sum(losses) / len(losses),
        aggregation_error=0.125 / number,
        aggregation_seconds=0.5,
        seconds=4.0,
        exact="inexact (mean of factors)",
        shared_rank=8,
        telemetry=Telemetry(
            sites=sites,
            norms={"bonn": 1.5, "oslo": 2.5, "rome": 0.5},
            cosines=cosines,
            effective_rank=6.5,
        ),
    )


REPORTS = (round_report(1, 3.0, 2.0, 4.0), round_report(2, 2.5, 1.5, 2.0))


def test_the_tables_by_hand() -> None:
    text = markdown(REPORTS, None, name="001")
    rows = [[c.strip() for c in line.split("|")[1:-1]] for line in text.splitlines() if "|" in line]
    # round 2: mean of 2.5, 1.5, 2; worst bonn; error 0.125 / 2; 3 sites x 2 and 3 kB; 2 s training,
    # 0.5 s aggregation, the rest of 4 s transport
    assert [
        *("2", "3/3", "2.000", "bonn 2.500", "0.0625", "8", "6.5"),
        *("6", "9", "2.0", "1.5", "0.50"),
    ] in rows
    # bonn: mean cosine (0.5 - 0.1) / 2; 2 rounds of 2 and 3 kB
    assert ["bonn", "40", "8", "3.000 -> 2.500", "1.5", "0.2", "4", "6", "2/2"] in rows
    assert "What happened on the way" not in text
    assert "0.03 MB in all" in summary(REPORTS, None, name="001")  # 2 rounds x 3 sites x 5 kB


def test_what_a_rule_did_and_who_was_left_out_is_told() -> None:
    first, last = REPORTS
    left_out = replace(last.outcomes[0], admitted=False, reason="all zero")
    dropped = replace(last.outcomes[1], dropped="left out by multi_krum: too far")
    reports = (first, replace(last, outcomes=(left_out, dropped, last.outcomes[2]), attempt=2))
    text = markdown(reports, None, name="001")
    assert "- round 2: left out bonn (all zero)" in text
    assert "- round 2: oslo left out by multi_krum: too far" in text
    assert "- round 2: made at attempt 2" in text
    assert "| 1/2 " in text


def test_a_log_of_before_there_was_telemetry_is_shown_too() -> None:
    old = tuple(replace(r, telemetry=None, exact="", shared_rank=0) for r in REPORTS)
    assert math.isnan(mean_cosine(old[0], "oslo"))
    assert "| - " in markdown(old, None, name="001")
    assert picture(old, title="old").startswith(b"\x89PNG")


def test_the_picture_is_the_same_for_the_same_rounds() -> None:
    one = picture(REPORTS, title="demo")
    assert one == picture(REPORTS, title="demo") != picture(REPORTS[:1], title="demo")
    width, height = int.from_bytes(one[16:20], "big"), int.from_bytes(one[20:24], "big")
    assert (width, height) == (1430, 792)
    many = replace(REPORTS[0], outcomes=tuple(outcome(f"site-{k}", 1 + k / 40) for k in range(40)))
    assert picture([many, replace(many, round_number=2)], title="many").startswith(b"\x89PNG")


def test_the_verb_reads_the_log_and_writes_the_report(tmp_path: Path) -> None:
    settings = load([f"var={tmp_path}"])
    console = Console(file=io.StringIO(), width=200)
    with pytest.raises(FederationError, match=r"Run \./run\.sh simulate"):
        report(settings, federation="", console=console)
    folder = settings.run_dir / "federations" / "002"
    folder.mkdir(parents=True)
    with pytest.raises(FederationError, match="finished no round"):
        report(settings, federation="002", console=console)
    log = RoundLog(folder)
    for one in REPORTS:
        log.append(one)
    assert log.reports() == REPORTS  # telemetry comes back from the disk as it was
    out = report(settings, federation="", console=console)
    assert (out / "round-report.png").read_bytes() == picture(
        REPORTS, title=f"{settings.name}, federation 002"
    )
    assert (out / "report.md").read_text() == markdown(REPORTS, None, name="002")
    assert isinstance(console.file, io.StringIO)
    assert "3.000 -> 2.000 nats per token" in console.file.getvalue()


def test_tensorboard_reads_what_the_sink_wrote(tmp_path: Path) -> None:
    accumulators = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="the extra tensorboard is not installed",
    )
    for reports in (REPORTS[:1], REPORTS[1:]):  # a run that was stopped and goes on
        sink = TensorBoardSink(tmp_path)
        for one in reports:
            sink.write(one)
        sink.close()
    found = accumulators.EventAccumulator(str(tmp_path))
    found.Reload()
    losses = [(e.step, e.value) for e in found.Scalars("loss/mean_heldout")]
    assert losses == [(1, 3.0), (2, 2.0)]
    assert [e.value for e in found.Scalars("norm/oslo")] == [2.5, 2.5]
    # (0.5 - 0.1 + 0.5 + 0 - 0.1 + 0) / 6
    assert found.Scalars("cosine/mean")[0].value == pytest.approx(0.8 / 6)
    assert found.Scalars("bytes/up")[0].value == 6000


def test_a_folder_that_cannot_be_is_said_before_a_run_says_it_is_running(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    (tmp_path / "file").write_text("")
    settings = fake_settings(tmp_path, f"federation.tensorboard={tmp_path / 'file'}")
    folder = tmp_path / "001"
    grid = DirectGrid(FakeSites().app, simulated_nodes(4, {}))
    with pytest.raises(SettingsError, match="Name another folder"):
        open_federation(grid, settings, folder=folder, run_id="1")
    assert read_status(folder) is None


def test_a_missing_package_is_said_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="setup tensorboard"):
        require_model(fake_settings(tmp_path, f"federation.tensorboard={tmp_path / 'tb'}"))
