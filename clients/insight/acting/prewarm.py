"""What forecasts of requests do at the edge: whose adapters stay in memory, when a release is
fetched, what adverts say.

Requests are those of the sites' ledgers. Adverts tell of those alone that go to the cloud; the
others need no place there.
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from clients.insight.acting.counting import Counting, Expected
from clients.insight.forecast import Forecaster
from clients.ledger.entry import Entry, from_line
from clients.ledger.journal import ledger_file
from fl.errors import NetGPTError
from fl.settings import Settings

SURE = 0.5  # a rise counts where it is at least this probable
CROWDS = ("high", "very high")


@dataclass(frozen=True, kw_only=True)
class _Forecasts:
    """By site; nothing changes in them, so nobody waits for who makes the next ones."""

    all: Mapping[str, Expected]
    cloud: Mapping[str, Expected]
    until: float  # seconds since 1970: an interval after theirs has ended


class Outlook:
    """Of the sites of one service. `look` is one thread's; what it found is anybody's."""

    def __init__(
        self,
        settings: Settings,
        sites: Sequence[str],
        forecaster: Forecaster,
        *,
        say: Callable[[str], None] = lambda text: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`forecaster` may take its time."""
        its = settings.prewarm
        self._clock, self._interval_s, self._say = clock, its.interval_s, say
        self._all = Counting(forecaster, interval_s=its.interval_s)
        self._cloud = Counting(forecaster, interval_s=its.interval_s)
        self._ledgers = {site: _Tail(ledger_file(settings, site)) for site in sites}
        self._now = _Forecasts(all={}, cloud={}, until=0.0)

    def run(self, stop: threading.Event, on_new: Callable[[], None]) -> None:
        """Look four times an interval; the outermost loop of its thread. `on_new` hears of new
        forecasts.
        """
        fault = ""
        while not stop.wait(self._interval_s / 4):
            try:
                if self.look():
                    fault = "" if self._now.all else fault
                    on_new()
            except (NetGPTError, OSError) as error:  # the next interval is tried again
                if (name := type(error).__name__) != fault:
                    self._say(f"requests are not forecast: {name}")
                fault = name

    def look(self) -> bool:
        """Read what is new in the ledgers. True where there are new forecasts."""
        now = self._clock()
        found = [(one.at, site, one) for site, tail in self._ledgers.items() for one in tail.new()]
        new = False
        for at, site, entry in sorted(found, key=lambda one: one[:2]):
            new |= self._all.asked(at, site)
            if goes_to_cloud(entry):
                new |= self._cloud.asked(at, site)
        for counting in (self._all, self._cloud):
            new |= counting.move_on(now)
        if new:
            self._now = _Forecasts(
                all=self._all.expected,
                cloud=self._cloud.expected,
                until=(now // self._interval_s + 2) * self._interval_s,
            )
        return new

    def per_s(self, site: str) -> float:
        """Requests a second that are forecast of a site; 0 where nothing is."""
        its = self._lasting.all.get(site)
        return its.count / self._interval_s if its else 0.0

    def cloud_per_s(self, site: str) -> float:
        """Requests a second that it is forecast to send to the cloud; 0 where nothing is."""
        its = self._lasting.cloud.get(site)
        return its.count / self._interval_s if its else 0.0

    def rises(self, site: str) -> bool:
        """Is a rise forecast?"""
        its = self._lasting.all.get(site)
        forecast = its.forecast if its else None
        return (
            forecast is not None
            and forecast.direction == "rise"
            and forecast.probabilities.get("rise", 0.0) >= SURE
        )

    def crowd(self, site: str) -> bool:
        """Is a crowd forecast: more than nothing, and much for this site?"""
        its = self._lasting.all.get(site)
        return its is not None and bool(its.count and its.forecast and its.forecast.level in CROWDS)

    @property
    def _lasting(self) -> _Forecasts:
        """The newest forecasts, unless they have lapsed."""
        now = self._now
        return now if self._clock() < now.until else _Forecasts(all={}, cloud={}, until=0.0)


def goes_to_cloud(entry: Entry) -> bool:
    """Was a place at the cloud wanted for it? An own or a kept answer takes none."""
    return entry.mode != "edge" and entry.kept not in ("answer", "both")


def kept_warm(
    sites: Sequence[str], expected: Callable[[str], float], *, most: int, warm: set[str]
) -> set[str]:
    """Whose adapters stay in memory: the `most` sites of which most is expected; 0 = all.

    Of equals those that are in memory already stay, so that nothing is loaded for nothing.
    """
    if not most:
        return set(sites)
    ordered = sorted(sites, key=lambda site: (-expected(site), site not in warm, site))
    return set(ordered[:most])


class PutOff:
    """Puts a release's fetch off in a crowd, for so many seconds at the most."""

    def __init__(
        self,
        crowd: Callable[[], bool],
        *,
        most_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._crowd, self._most_s, self._clock = crowd, most_s, clock
        self._release: object = None
        self._since = 0.0

    def waits(self, release: object) -> bool:
        """Shall this release wait? Each has `most_s` from when it was first seen."""
        if release != self._release:
            self._release, self._since = release, self._clock()
        return self._clock() - self._since < self._most_s and self._crowd()


class _Tail:
    """The lines that are added to a ledger from when the service begins."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._read = file.stat().st_size if file.is_file() else 0

    def new(self) -> list[Entry]:
        """The requests that are new; a line that is not whole yet waits.

        A ledger that cannot be read says nothing: who writes it says so.
        """
        try:
            with open(self._file, "rb") as stream:
                if stream.seek(0, os.SEEK_END) < self._read:
                    self._read = 0  # begun anew
                stream.seek(self._read)
                raw = stream.read()
        except OSError:
            return []
        whole = raw[: raw.rfind(b"\n") + 1]
        self._read += len(whole)
        found = [from_line(line) for line in whole.splitlines()]
        return [entry for entry in found if entry is not None]
