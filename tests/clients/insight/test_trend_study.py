"""The study of trends: two short series written here, two rounds, its tables and its picture."""

import json
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from clients.insight.trends.certainty import Difference
from clients.insight.trends.data_sets import read_series
from clients.insight.trends.plainly import limits, said
from clients.insight.trends.results import ARMS, FEDERATED, LEARNED, SeriesResult
from clients.insight.trends.scores import Score
from clients.insight.trends.study import study_trends
from clients.insight.trends.yardsticks import AR, AR_LOG, PERSISTENCE, SEASONAL
from fl.errors import BookError, SettingsError
from fl.settings import Settings, load
from tests.tiny_models import make_tiny_edge

START = datetime(2026, 3, 2)


def line(name: str, first: int, counts: list[int]) -> str:
    at = START + timedelta(hours=first + 23)
    entry = {"site": name, "history": counts[:24], "target": counts[24], "t": at.isoformat()}
    return json.dumps(entry) + "\n"


def tiny(folder: Path, *more: str) -> Settings:
    """Two series of 60 hours, the last 10 of which are held out."""
    train, heldout = "", ""
    for name, scale in (("ONE", 10), ("TWO", 300)):
        counts = [scale * (2 + hour % 4) for hour in range(60)]
        for first in range(0, 26, 5):
            train += line(name, first, counts[first : first + 25])
        for first in range(26, 36):
            heldout += line(name, first, counts[first : first + 25])
    (folder / "train.jsonl").write_text(train)
    (folder / "val.jsonl").write_text(heldout)
    return load([f"trend.study.data={folder}", f"var={folder / 'var'}", *more])


def test_training_sees_every_hour_of_its_file_and_none_of_the_other(tmp_path: Path) -> None:
    one, two = read_series(tiny(tmp_path).trend.study)
    assert (one.name, two.name) == ("ONE", "TWO")
    assert one.counts == tuple(10.0 * (2 + hour % 4) for hour in range(50))
    # Hours 0 to 49: windows of 24 begin at 0 to 25; up to 12 counts come after each.
    assert [len(after) for _, after in one.train] == [12] * 15 + list(range(11, 0, -1))
    window, after = one.train[-1]
    assert (window.at, after) == (START + timedelta(hours=48), (30.0,))
    assert [known.at for known, _ in one.heldout] == [
        START + timedelta(hours=49 + i) for i in range(10)
    ]


def test_no_window_spans_a_gap(tmp_path: Path) -> None:
    """Hours 0 to 25 and 40 to 64: two windows from the first, one from the second."""
    settings = tiny(tmp_path)
    counts = list(range(100, 165))
    text = "".join(line("ONE", first, counts[first : first + 25]) for first in (0, 1, 40))
    (tmp_path / "train.jsonl").write_text(text)
    (one,) = read_series(settings.trend.study)
    assert [(window.history[0], after) for window, after in one.train] == [
        (100.0, (124.0, 125.0)),
        (101.0, (125.0,)),
        (140.0, (164.0,)),
    ]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="has no THREE; it has ONE, TWO"):
        read_series(tiny(tmp_path, "trend.study.series=[THREE]").trend.study)
    (tmp_path / "val.jsonl").write_text("77\n")
    with pytest.raises(BookError, match=r"val.jsonl, line 1: .* JSON object") as refused:
        read_series(load([f"trend.study.data={tmp_path}"]).trend.study)
    assert "77" not in str(refused.value).replace(str(tmp_path), "")
    with pytest.raises(SettingsError, match="does not exist"):
        read_series(load([f"trend.study.data={tmp_path / 'no'}"]).trend.study)


def test_a_study_of_two_rounds(tmp_path: Path) -> None:
    settings = tiny(
        tmp_path,
        "task=trend",
        "rounds=2",
        "threads=1",
        f"edge.model={make_tiny_edge(tmp_path / 'edge')}",
        "learning.rank=2",
        "learning.alpha=4.0",
        "learning.target_modules=[c_attn]",
        "learning.local_steps=1",
        "learning.batch_tokens=256",
        "trend.study.timed_forecasts=2",
    )
    printed = StringIO()
    study_trends(settings, Console(file=printed, width=300))
    out = settings.run_dir / "study-trends"
    text, raw = (
        (out / "study-trends.md").read_text(),
        json.loads((out / "study-trends.json").read_text()),
    )
    assert (out / "study-trends.png").read_bytes().startswith(b"\x89PNG")
    assert "2 real series, 20 held-out windows" in text
    assert "(1 thread)" in text
    for one in raw["series"]:
        assert set(one["scores"]) == set(ARMS)
        assert one["heldout"] == 10
        # 2, 3, 4, 5 times the scale, by turns: the same hour yesterday is always right.
        assert one["scores"][SEASONAL]["smape"] == 0.0
        assert one["scores"][SEASONAL]["direction"] == 1.0
        assert one["commonest"] == 0.8  # of hours 50 to 59, two fall
        assert set(one["over_persistence"]) == set(LEARNED)
    for arm in LEARNED:
        assert f"  {arm}: " in printed.getvalue()


def test_wins_and_losses_are_said_plainly() -> None:
    """Better than persistence in ONE alone and surely so; direction beside the best yardstick."""
    one = result("ONE", 109, smape=0.3, direction=0.5, coverage=0.8, sure=(-0.2, -0.1))
    two = result("TWO", 9, smape=0.5, direction=0.7, coverage=0.44, sure=(-0.1, 0.3))
    errors, directions, levels, interval = said([one, two], FEDERATED, coverage=0.8)
    assert "better than persistence in 1 of 2 series (not TWO), surely in 1, surely worse in 0" in (
        errors
    )
    assert (
        "than AR(24) in 2, than AR(24), log in 1 (not TWO) (surely in 0, surely worse in 2)"
        in errors
    )
    assert "best yardstick of each series in 1 (not TWO)" in errors
    assert "commonest one in 2 of 2 series, surely in 0" in directions
    assert "best yardstick of each series in 1 (not ONE)" in directions
    assert "commonest one in 0 of 2 series (not ONE, TWO)" in levels
    assert "more than 10 points off the 80% it is for in TWO (44.0 %)" in interval
    first, seed, chosen = limits([one, two], seed=3)
    assert "TWO has 9" in first
    assert "(3)" in seed
    assert "no third part" in chosen


def result(
    name: str,
    windows: int,
    *,
    smape: float,
    direction: float,
    coverage: float,
    sure: tuple[float, float],
) -> SeriesResult:
    def scored(error: float, told: float) -> Score:
        return Score(smape=error, direction=told, level=0.2, coverage=coverage, width=1.0)

    yard = {PERSISTENCE: 0.4, SEASONAL: 0.9, "mean of 3": 0.9, AR: 0.6, AR_LOG: 0.4}
    unsure = Difference(mean=0.0, low=-0.1, high=0.1)
    return SeriesResult(
        name=name,
        train=10,
        heldout=windows,
        commonest=0.4,
        commonest_level=0.3,
        scores={
            **{arm: scored(error, 0.6) for arm, error in yard.items()},
            FEDERATED: scored(smape, direction),
        },
        over_persistence={FEDERATED: Difference(mean=0.0, low=sure[0], high=sure[1])},
        over_regression={FEDERATED: Difference(mean=0.1, low=0.05, high=0.2)},
        over_commonest={FEDERATED: unsure},
    )
