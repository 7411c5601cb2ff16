"""What forecasts of requests do at the edge: whose adapters stay in memory, when a release is
fetched, what adverts say.

Requests are those of the sites' ledgers, whoever answered them.
"""

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clients.insight.acting.counting import Counting, Expected
from clients.insight.forecast import Forecaster
from clients.ledger.entry import from_line
from clients.ledger.journal import ledger_file
from fl.settings import Settings

SURE = 0.5  # a rise counts where it is at least this probable
CROWDS = ("high", "very high")


class Outlook:
    """Of the sites of one service. For any thread."""

    def __init__(
        self,
        settings: Settings,
        sites: Sequence[str],
        forecaster: Forecaster,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        its = settings.prewarm
        self._clock, self._lock, self._interval_s = clock, threading.Lock(), its.interval_s
        self._counting = Counting(forecaster, interval_s=its.interval_s)
        self._ledgers = {site: _Tail(ledger_file(settings, site)) for site in sites}

    def look(self) -> bool:
        """Read what is new in the ledgers. True where there are new forecasts."""
        with self._lock:
            found = [(at, site) for site, tail in self._ledgers.items() for at in tail.new()]
            new = [self._counting.asked(at, site) for at, site in sorted(found)]
            return self._counting.move_on(self._clock()) or any(new)

    def per_s(self, site: str) -> float:
        """Requests a second that are forecast of a site; 0 where nothing is."""
        its = self._of(site)
        return its.count / self._interval_s if its else 0.0

    def rises(self, site: str) -> bool:
        """Is a rise forecast?"""
        its = self._of(site)
        forecast = its.forecast if its else None
        return (
            forecast is not None
            and forecast.direction == "rise"
            and forecast.probabilities.get("rise", 0.0) >= SURE
        )

    def crowd(self, site: str) -> bool:
        """Is a crowd forecast: more than nothing, and much for this site?"""
        its = self._of(site)
        return its is not None and bool(its.count and its.forecast and its.forecast.level in CROWDS)

    def _of(self, site: str) -> Expected | None:
        with self._lock:
            return self._counting.expected.get(site)


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

    def new(self) -> list[float]:
        """When the requests were that are new; a line that is not whole yet waits.

        A ledger that cannot be read says nothing: who writes it says so.
        """
        try:
            with open(self._file, "rb") as stream:
                stream.seek(self._read)
                raw = stream.read()
        except OSError:
            return []
        whole = raw[: raw.rfind(b"\n") + 1]
        self._read += len(whole)
        found = [from_line(line) for line in whole.splitlines()]
        return [entry.at for entry in found if entry is not None]
