"""Series from files and logs, trend books, demo rhythms: what is read and what is refused."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from clients.insight.trends.demo_books import draw_windows
from clients.insight.trends.series import CountSeries, series_of_file, series_of_log
from clients.insight.trends.trend_book import read_trend
from clients.ledger.journal import ledger_file
from fl.demo_world.rhythms import draw_counts
from fl.errors import BookError
from fl.settings import load
from fl.site import Site

SITE = Site(id="hill", place="Thorn Hill")
START = datetime(2026, 3, 2)


def times(number: int) -> str:
    return (START + timedelta(hours=number)).isoformat()


def lines(file: Path, rows: list[dict[str, object]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_csv_and_json_lines_and_a_book_say_the_same(tmp_path: Path) -> None:
    counts = [float(3 * i % 17) for i in range(30)]
    table = tmp_path / "s.csv"
    table.write_text(
        "t,count\n" + "".join(f"{times(i)},{c}\n" for i, c in reversed(list(enumerate(counts))))
    )
    rows = [{"t": times(i), "count": c} for i, c in enumerate(counts)]
    windows: list[dict[str, object]] = [
        {"history": counts[i : i + 24], "targets": counts[i + 24 : i + 27], "t": times(i + 23)}
        for i in range(4)
    ]
    for file in (table, lines(tmp_path / "s.jsonl", rows), lines(tmp_path / "b.jsonl", windows)):
        found = series_of_file(file)
        assert found.counts == tuple(counts)
        assert (found.at, found.step, found.left_out) == (
            START + timedelta(hours=29),
            timedelta(hours=1),
            0,
        )


def test_what_stands_before_a_gap_is_left_out(tmp_path: Path) -> None:
    rows = [{"t": times(i), "count": i} for i in range(40) if i != 9]
    found = series_of_file(lines(tmp_path / "s.jsonl", rows))
    assert (len(found.counts), found.left_out) == (30, 9)


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"t": times(i), "count": 1} for i in range(23)], "needs 24"),
        ([{"t": times(i), "count": -77} for i in range(30)], "line 1: 'count'"),
        ([{"t": "77 o'clock", "count": 1}], "ISO 8601"),
        ([{"t": times(0), "count": 77}, {"t": times(0), "count": 1}], "line 2: a time that stood"),
        ([{"t": times(0), "count": 1}, {"t": times(1) + "+00:00", "count": 1}], "time zone"),
        ([{"t": times(0), "count": 1}, {"t": times(0), "count": 77}], "clocks were put back"),
        ([{"t": times(0), "count": 1e15 + 77}], "from 0 to 1e.15"),
        ([{"t": "9999-12-31T23:00:00", "history": [77] * 24, "target": 1}], "years 2 to 9998"),
        ([{"t": "0001-01-01T00:00:00", "history": [77] * 24, "target": 1}], "years 2 to 9998"),
        ([{"t": times(0), "count": 77, "site": s} for s in "ab"], "line 2: .* several series"),
    ],
)
def test_what_is_refused_is_not_repeated(
    tmp_path: Path, rows: list[dict[str, object]], said: str
) -> None:
    with pytest.raises(BookError, match=said) as refused:
        series_of_file(lines(tmp_path / "s.jsonl", rows))
    assert "77" not in str(refused.value).replace(str(tmp_path), "")


def test_an_odd_time_costs_no_more_than_what_is_before_it(tmp_path: Path) -> None:
    """The step is the commonest difference, not the smallest: half past nine is a gap."""
    rows: list[dict[str, object]] = [{"t": times(i), "count": i} for i in range(40)]
    odd: dict[str, object] = {"t": (START + timedelta(hours=9.5)).isoformat(), "count": 77}
    found = series_of_file(lines(tmp_path / "s.jsonl", [*rows, odd]))
    assert (found.step, len(found.counts), found.left_out) == (timedelta(hours=1), 30, 11)
    late: dict[str, object] = {"t": (START + timedelta(hours=30.5)).isoformat(), "count": 77}
    with pytest.raises(BookError, match=r"9 counts .* 2026-03-03T07:00:00 is 0:30:00 earlier"):
        series_of_file(lines(tmp_path / "t.jsonl", [*rows, late]))


def test_a_mark_of_byte_order_is_no_part_of_a_line(tmp_path: Path) -> None:
    rows = [{"t": times(i), "count": i} for i in range(24)]
    file = lines(tmp_path / "s.jsonl", [dict(row) for row in rows])
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert len(series_of_file(file).counts) == 24


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("my,diagnosis77\n", "line 1: .*found 2 columns, none of them called t or count"),
        ("t,77\n", "line 1: .*found 2 columns, none of them called count"),
        ("count,t\n77\n", "line 2: .*fewer"),
        ("t,count\n2026-03-02,\n", "line 2: 'count'"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "s.csv"
    file.write_text(text)
    with pytest.raises(BookError, match=said) as refused:
        series_of_file(file)
    assert "77" not in str(refused.value).replace(str(tmp_path), "")


def test_steps_that_would_lead_beyond_all_calendars() -> None:
    at, step = datetime(9000, 1, 1), timedelta(days=36_500)
    series = CountSeries(counts=(1.0,) * 24, at=at, step=step)
    series.require_ahead(9)  # 900 years
    with pytest.raises(BookError, match=r"10 steps .* year 9998"):
        series.require_ahead(10)


def test_a_request_log_is_counted_in_whole_steps(tmp_path: Path) -> None:
    settings = load([f"var={tmp_path}", "trend.step_s=60"])
    file = ledger_file(settings, SITE.id)
    file.parent.mkdir(parents=True)
    now = datetime(2026, 3, 2, 12, 0, 30, tzinfo=UTC)
    with pytest.raises(BookError, match="0 whole steps"):
        series_of_log(settings, SITE, now=now)
    entry = _entry()
    begin = now.timestamp() - 30 - 60 * 30  # thirty whole minutes, and half of the running one
    at = [begin + 1, begin + 2, begin + 61, now.timestamp() - 1]
    file.write_text("".join(json.dumps({**entry, "at": second}) + "\n" for second in at))
    found = series_of_log(settings, SITE, now=now)
    assert found.counts == (2.0, 1.0, *[0.0] * 28)
    assert found.at == datetime(2026, 3, 2, 11, 59, tzinfo=UTC)


def test_a_line_of_a_trend_book() -> None:
    line = {"history": [5] * 24, "target": 5, "t": times(23)}
    record = read_trend(line, "b, line 1", SITE)
    assert record is not None
    assert record.prompt().startswith("Counts ")
    assert record.prompt().endswith("\nNext:")
    with pytest.raises(BookError, match="23 counts"):
        read_trend({**line, "history": [5] * 23}, "b, line 1", SITE)
    with pytest.raises(BookError, match="'target'"):
        read_trend({"history": [5] * 24, "t": times(23)}, "b, line 1", SITE)


def test_demo_rhythms_differ_by_place_alone() -> None:
    assert draw_counts("Thorn Hill", hours=50, seed=1) == draw_counts(
        "Thorn Hill", hours=50, seed=1
    )
    assert draw_counts("Thorn Hill", hours=50, seed=1) != draw_counts("Eden Port", hours=50, seed=1)
    found, train = draw_windows(SITE, seed=1)
    last = json.loads(found[train - 1])
    first = json.loads(found[train])
    # No held-out hour stands in any training line.
    ends = datetime.fromisoformat(last["t"]) + timedelta(hours=len(last["targets"]))
    assert datetime.fromisoformat(first["t"]) - timedelta(hours=23) == ends + timedelta(hours=1)


def _entry() -> dict[str, object]:
    from dataclasses import fields

    from clients.ledger.entry import Entry

    blank = {"str": "", "int": 0, "float": 0.0, "bool": False}
    return {
        field.name: blank[field.type if isinstance(field.type, str) else field.type.__name__]
        for field in fields(Entry)
    } | {"site_id": "hill"}
