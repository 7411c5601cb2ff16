"""Where a request is worked on in the event model: a worker, a site's model, a cell's link."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from fl.link.line import Line
from fl.link.profiles import profile
from fl.link.speed import LinkSpeed
from fl.orchestration.batch_server import BatchServer, Pace
from fl.orchestration.calendar import Calendar
from fl.orchestration.turn_server import TurnServer

PROBE_BYTES = 16_384  # as routing/link_meter.py sends

Through = Callable[[str], None]


class Worker:
    """One of the cloud's, that writes many answers together and tells each when it is through."""

    def __init__(self, calendar: Calendar, pace: Pace, through: Through) -> None:
        self._calendar, self._through = calendar, through
        self._server, self._version = BatchServer(pace), 0

    def __len__(self) -> int:
        return len(self._server)

    def put(self, job: str, tokens: float) -> None:
        """A request comes."""
        self._server.put(self._calendar.now, job, tokens)
        self._next()

    def remove(self, job: str) -> None:
        """A request is given up, or is not here at all."""
        if self._server.remove(self._calendar.now, job):
            self._next()

    def die(self) -> dict[str, float]:
        """Tell nobody any longer. Its requests, and the tokens that each still wants."""
        self._version += 1
        return self._server.left(self._calendar.now)

    def _next(self) -> None:
        """Enter when the next one is through, in place of what was entered before."""
        self._version += 1
        version, found = self._version, self._server.next_through()
        if found is None:
            return
        when, job = found

        def through() -> None:
            if self._version == version:
                self._server.remove(self._calendar.now, job)
                self._next()
                self._through(job)

        self._calendar.at(when, through)


class SiteModel:
    """A site's own, that writes in turns. `believed` is what the site knows of it."""

    def __init__(self, calendar: Calendar, pace: Pace, through: Through) -> None:
        self._calendar, self._through = calendar, through
        self._server, self.believed, self._told = TurnServer(pace), TurnServer(pace), inf

    @property
    def ends_at(self) -> float:
        """When its turn ends; inf where none is on."""
        return self._server.ends_at

    def put(self, job: str, tokens: float, *, believed: float) -> None:
        """A text is to be written, of so many tokens, and of so many as far as the site knows."""
        self._server.put(self._calendar.now, job, tokens)
        self.believed.put(self._calendar.now, job, believed)
        self._next()

    def drop(self, job: str) -> None:
        """Nobody wants a text any longer."""
        self._server.drop(job)
        self.believed.drop(job)

    def _next(self) -> None:
        ends_at = self._server.ends_at
        if ends_at == self._told or ends_at == inf:
            return
        self._told = ends_at

        def over() -> None:
            if self._server.ends_at == ends_at:
                jobs = self._server.turn_over(ends_at)
                self.believed.turn_over(ends_at)
                self._next()
                for job in jobs:
                    self._through(job)

        self._calendar.at(ends_at, over)


@dataclass
class CellLink:
    """What the sites of a cell share."""

    up: Line
    down: Line
    rtt_s: float = 0.0
    bytes_up: float = 0.0
    bytes_down: float = 0.0

    @classmethod
    def unset(cls) -> "CellLink":
        """Without a profile yet."""
        return cls(up=Line(bytes_per_s=0, delay_s=0), down=Line(bytes_per_s=0, delay_s=0))

    def change(self, name: str) -> None:
        """It has this profile now."""
        its = profile(name)
        self.rtt_s = its.rtt_ms / 1000
        self.up.change(bytes_per_s=its.up_mbit_s * 125_000, delay_s=self.rtt_s / 2)
        self.down.change(bytes_per_s=its.down_mbit_s * 125_000, delay_s=self.rtt_s / 2)

    def send_up(self, now: float, size: float) -> float:
        """When bytes that leave the site now are there."""
        self.bytes_up += size
        return self.up.arrival(now, size)

    def send_down(self, now: float, size: float) -> float:
        """When bytes that leave the cloud now are there."""
        self.bytes_down += size
        return self.down.arrival(now, size)

    def probed(self, now: float) -> LinkSpeed:
        """As probes would find it, what lies on it included."""
        empty_up, empty_down = self.up.expect(now, 0) - now, self.down.expect(now, 0) - now
        up_s = self.up.expect(now, PROBE_BYTES) - now - empty_up
        down_s = self.down.expect(now, PROBE_BYTES) - now - empty_down
        return LinkSpeed(
            rtt_s=empty_up + empty_down,
            up_bytes_s=PROBE_BYTES / up_s if up_s else inf,
            down_bytes_s=PROBE_BYTES / down_s if down_s else inf,
        )
