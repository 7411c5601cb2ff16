"""What `trend` prints and writes, and where; the forecasts are given here."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from clients.insight.forecast import Forecast
from clients.insight.trends import verb
from clients.insight.trends.figures import picture
from clients.insight.trends.series import CountSeries, to_objects
from fl.errors import BookError
from fl.settings import load, with_task
from fl.site_list import federated_sites, task_folder
from fl.tasks import TREND

TOLD = Forecast(
    value=5.0,
    low=2.0,
    high=9.0,
    direction="steady",
    level="middle",
    probabilities={"rise": 0.25, "steady": 0.5, "fall": 0.25},
)
SERIES = CountSeries(
    counts=tuple(float(i) for i in range(24)), at=datetime(2026, 3, 2), step=timedelta(hours=1)
)


def given(*_: object) -> Sequence[Forecast]:
    return [TOLD, TOLD]


def test_a_picture_and_the_numbers_lie_with_their_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another site's do not replace them, nor lie among the federations of the task."""
    monkeypatch.setattr(verb, "_forecasts", given)
    settings = load([f"var={tmp_path}", "sites=2", "trend.horizon=2"])
    file = tmp_path / "s.csv"
    rows = "".join(f"{SERIES.time(i - 23).isoformat()},{i}\n" for i in range(24))
    file.write_text("t,count\n" + rows)
    printed = StringIO()
    for site in federated_sites(settings):
        console = Console(file=printed, width=200)
        verb.forecast_and_show(settings, site, book=str(file), console=console)
    for site in federated_sites(settings):
        folder = task_folder(with_task(settings, TREND), site.id)
        found = json.loads((folder / "trend.json").read_text())
        assert (found["site"], found["data"]) == (site.id, to_objects(SERIES, [TOLD, TOLD]))
        assert (folder / "trend.png").read_bytes().startswith(b"\x89PNG")
        assert str(folder / "trend.png") in printed.getvalue()
    assert not (settings.run_dir / "trend").exists()
    assert "steady 50%" in printed.getvalue()


def test_steps_beyond_the_calendar_are_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verb, "_forecasts", None)
    settings = load([f"var={tmp_path}", "sites=1", "trend.horizon=48"])
    file = tmp_path / "s.csv"
    file.write_text("t,count\n" + "".join(f"{400 * i + 100:04}-01-01,1\n" for i in range(24)))
    with pytest.raises(BookError, match=r"48 steps .* year 9998"):
        verb.forecast_and_show(
            settings, federated_sites(settings)[0], book=str(file), console=Console()
        )


def test_forecasts_as_objects_by_hand() -> None:
    first, second = to_objects(SERIES, [TOLD, TOLD])
    assert (first["at"], second["at"]) == ("2026-03-02T01:00:00", "2026-03-02T02:00:00")
    assert first["probabilities"] == {"rise": 0.25, "steady": 0.5, "fall": 0.25}


def test_the_same_picture_of_the_same_series() -> None:
    one, two = (picture(SERIES, [TOLD], title="t", coverage=0.8) for _ in range(2))
    assert one == two
    assert one.startswith(b"\x89PNG")
