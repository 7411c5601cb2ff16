"""Any series of counts: from a file, or from the site's own request log.

A file is CSV with the columns t and count, JSON lines of {t, count}, or a book of trends, whose
windows are put beside each other. `t` is when a step begins, ISO 8601. The step is the commonest
difference of two times; what stands before the last other one is left out, and said to be.
"""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import MAXYEAR, UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from clients.insight.forecast import Forecast
from clients.insight.trends.encoding import HISTORY
from clients.insight.trends.trend_book import counts_under, time_of
from clients.ledger.journal import entries, ledger_file
from clients.prompts.book import text_of
from clients.prompts.json_lines import LONGEST_LINE
from fl.errors import BookError
from fl.settings import Settings
from fl.site import Site

HOUR = timedelta(hours=1)
LOG_STEPS = 24 * 7 * 8  # of a request log, the last ones: eight weeks of hours


@dataclass(frozen=True, kw_only=True)
class CountSeries:
    """Counts of steps that follow each other without a gap."""

    counts: tuple[float, ...]  # HISTORY or more
    at: datetime  # when the last step begins
    step: timedelta
    left_out: int = 0  # counts before the last gap

    def time(self, number: int) -> datetime:
        """When step `number` begins; 0 is the last one, 1 the one after it, -1 the one before."""
        return self.at + number * self.step

    def require_ahead(self, steps: int) -> None:
        """Raise BookError where so many steps ahead are beyond what a calendar has."""
        if steps * self.step > datetime(MAXYEAR, 1, 1) - self.at.replace(tzinfo=None):
            raise BookError(
                f"{steps} steps of {self.step} after the last count would lead beyond the year "
                f"{MAXYEAR - 1}. Ask for fewer, or correct the times."
            )


def to_objects(series: CountSeries, forecasts: Sequence[Forecast]) -> list[dict[str, object]]:
    """The forecasts of what follows a series, as JSON has them, in files and over HTTP."""
    return [
        {
            "at": series.time(number).isoformat(),
            "value": one.value,
            "low": one.low,
            "high": one.high,
            "direction": one.direction,
            "level": one.level,
            "probabilities": {name: round(share, 4) for name, share in one.probabilities.items()},
        }
        for number, one in enumerate(forecasts, start=1)
    ]


def series_of_file(file: Path) -> CountSeries:
    """Read it. Raises BookError, which says what is wrong where."""
    if not file.is_file():
        raise BookError(
            f"{file} does not exist. Give book=FILE: CSV with the columns t and count, or JSON "
            "lines of {t, count}."
        )
    rows = _csv_rows(file) if file.suffix.lower() == ".csv" else _json_rows(file)
    found: dict[datetime, float] = {}
    for where, at, count in rows:
        if found and (at.tzinfo is None) != (next(iter(found)).tzinfo is None):
            raise BookError(f"{where}: some times have a time zone and others have none.")
        if found.setdefault(at, count) != count:
            raise BookError(
                f"{where}: a time that stood before with another count. If clocks were put back "
                "then, give times with their zone, as in 2026-10-25T02:00:00+01:00; else add the "
                "counts up."
            )
    return _last_stretch(found, str(file))


def series_of_log(settings: Settings, site: Site, *, now: datetime) -> CountSeries:
    """How many requests the site had in each step of trend.step_s; the running one is left out.

    Raises BookError where the log is younger than HISTORY steps.
    """
    step_s = settings.trend.step_s
    ended = int(now.timestamp() // step_s)  # number of the running step
    numbers = [int(entry.at // step_s) for entry in entries(ledger_file(settings, site.id))]
    past = [number for number in numbers if number < ended]
    steps = min(ended - min(past), LOG_STEPS) if past else 0
    if steps < HISTORY:
        raise BookError(
            f"Site {site.id} has a request log of {steps} whole steps of {step_s:g} s; a forecast "
            f"needs {HISTORY}. Wait, set trend.step_s lower, or give book=FILE."
        )
    counts = [0.0] * steps
    for number in past:
        if number >= ended - steps:
            counts[number - (ended - steps)] += 1
    at = datetime.fromtimestamp((ended - 1) * step_s, UTC)
    return CountSeries(counts=tuple(counts), at=at, step=timedelta(seconds=step_s))


def _csv_rows(file: Path) -> Iterator[tuple[str, datetime, float]]:
    with open(file, encoding="utf-8-sig", newline="") as text:
        try:
            rows = csv.DictReader(text)
            if not {"t", "count"} <= set(rows.fieldnames or ()):
                missing = [name for name in ("t", "count") if name not in (rows.fieldnames or ())]
                raise BookError(
                    f"{file}, line 1: expected a header with the columns t and count, separated "
                    f"by commas; found {len(rows.fieldnames or ())} columns, none of them called "
                    f"{' or '.join(missing)}."
                )
            for row in rows:
                where = f"{file}, line {rows.line_num}"
                if row["t"] is None or row["count"] is None:
                    raise BookError(f"{where}: fewer columns than the header has.")
                try:
                    number: float | None = float(row["count"])
                except ValueError:
                    number = None
                (count,) = counts_under({"count": [number]}, "count", where)
                yield where, time_of(row["t"], where), count
        except (UnicodeDecodeError, csv.Error):
            raise BookError(f"{file}: not CSV in UTF-8.") from None


def _json_rows(file: Path) -> Iterator[tuple[str, datetime, float]]:
    site: object = None
    with open(file, "rb") as lines:
        for number, raw in enumerate(iter(lambda: lines.readline(LONGEST_LINE), b""), start=1):
            where = f"{file}, line {number}"
            if not raw.strip():
                continue
            try:
                entry = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (ValueError, RecursionError):
                entry = None
            if not isinstance(entry, dict):
                raise BookError(f"{where}: expected a JSON object, as {{t, count}}.")
            if number > 1 and entry.get("site") != site:
                raise BookError(
                    f"{where}: another `site` than the line before has, so these are several "
                    f'series. Give one: grep \'"site": "NAME"\' {file.name} > one.jsonl'
                )
            site = entry.get("site")
            yield from _counts_of(entry, where)


def _counts_of(entry: Mapping[str, Any], where: str) -> Iterator[tuple[str, datetime, float]]:
    """Those of a line: one, or those of a window, whose steps are hours."""
    at = time_of(text_of(entry, "t", where), where)
    if "history" not in entry:
        (count,) = counts_under({"count": [entry.get("count")]}, "count", where)
        yield where, at, count
        return
    history = counts_under(entry, "history", where)
    for back, count in enumerate(reversed(history)):
        yield where, at - back * HOUR, count
    if "targets" not in entry:
        (count,) = counts_under({"target": [entry.get("target")]}, "target", where)
        yield where, at + HOUR, count
        return
    for ahead, count in enumerate(counts_under(entry, "targets", where), start=1):
        yield where, at + ahead * HOUR, count


def _last_stretch(found: Mapping[datetime, float], file: str) -> CountSeries:
    times = sorted(found)
    apart = [b - a for a, b in pairwise(times)]
    often = Counter(apart)
    step = min(often, key=lambda one: (-often[one], one), default=HOUR)
    begin = max((i for i, one in enumerate(apart, start=1) if one != step), default=0)
    stretch = times[begin:]
    if len(stretch) < HISTORY:
        last = f" The time before {stretch[0].isoformat()} is {apart[begin - 1]} earlier."
        raise BookError(
            f"{file}: {len(stretch)} counts follow each other {step} apart; a forecast needs "
            f"{HISTORY}.{last if begin else ''} Fill gaps (0 where there was nothing), leave out "
            "times between two steps, or give more."
        )
    return CountSeries(
        counts=tuple(found[at] for at in stretch), at=stretch[-1], step=step, left_out=begin
    )
