"""Admission: does a request fit the compute and the bandwidth that are left, and where does it go?

    T = ready + up + queue and cloud + down                        (seconds)

Ready is the site's own part; up and down are what the bytes take behind those already promised on
its link, queue and cloud what the worker takes beside those already promised there. A request that
fits its deadline, and under which nobody misses his who was promised before, is promised both at
once; else it is answered at the site, where that is quick enough; else it is shed at once, before
it costs anybody anything.

Two poorer ways are here to be compared with: one sees only the computing and takes the link as it
was when it was first seen, idle; one sees only the link and takes the workers as idle.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from math import inf, isinf

from fl.link.line import Line
from fl.link.speed import LinkSpeed
from fl.orchestration.batch_server import BatchServer, Pace

POLICIES = ("joint", "compute", "network", "none")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A request that asks to be admitted. Nothing of its text is in it."""

    request_id: str
    link: str  # name of the link it crosses; sites of one cell share one
    deadline_s: float  # seconds that are left for it
    bytes_up: float
    bytes_down: float
    tokens: float  # the cloud's model is to write, expected
    ready_s: float  # until the site has its prompt ready
    own_s: float  # in which the site would have answered by itself; inf where it cannot


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Where a request goes."""

    place: str  # cloud | edge | shed
    worker: str = ""  # of the cloud
    expected_s: float = 0.0  # until its answer is there
    short_of: str = ""  # what there is too little of, where it is not the cloud: link | compute


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Seconds a request would take, part by part."""

    ready: float
    up: float
    cloud: float
    down: float

    @property
    def total(self) -> float:
        return self.ready + self.up + self.cloud + self.down


@dataclass
class _Link:
    """A link's promises, each way."""

    first: LinkSpeed  # as it was when it was first seen
    up: Line = field(default_factory=lambda: Line(bytes_per_s=0, delay_s=0))
    down: Line = field(default_factory=lambda: Line(bytes_per_s=0, delay_s=0))
    now: LinkSpeed = field(init=False)

    def __post_init__(self) -> None:
        self.change(self.first)

    def change(self, speed: LinkSpeed) -> None:
        self.now = speed
        for line, bytes_s in ((self.up, speed.up_bytes_s), (self.down, speed.down_bytes_s)):
            bound = 0.0 if isinf(bytes_s) else bytes_s
            line.change(bytes_per_s=bound, delay_s=speed.rtt_s / 2)


class Admission:
    """The book of what has been promised. Times are seconds of any one clock; not for threads."""

    def __init__(self, policy: str = "joint", *, slack: float = 0.1) -> None:
        """`slack` is the share of a deadline that is kept for what nobody foresees."""
        self._policy, self._slack = policy, slack
        self._workers: dict[str, BatchServer] = {}
        self._links: dict[str, _Link] = {}
        self._at: dict[str, str] = {}  # request -> worker
        self._due: dict[str, float] = {}  # when a request must be through at its worker

    @property
    def workers(self) -> Mapping[str, int]:
        """Requests promised to each worker."""
        return {name: len(server) for name, server in self._workers.items()}

    def worker(self, name: str, pace: Pace) -> None:
        """A worker is there, or has another pace now."""
        if name in self._workers:
            self._workers[name].pace = pace
        else:
            self._workers[name] = BatchServer(pace)

    def lose(self, name: str) -> list[str]:
        """A worker has gone; the requests that were promised to it."""
        gone = self._workers.pop(name, None)
        jobs = gone.jobs if gone else []
        for job in jobs:
            del self._at[job]
        return jobs

    def link(self, name: str, speed: LinkSpeed) -> None:
        """A link as it is now."""
        self._links.setdefault(name, _Link(first=speed)).change(speed)

    def round_trip(self, name: str, rtt_s: float) -> None:
        """A known link's round trip is another one now."""
        if (link := self._links.get(name)) is not None:
            link.change(replace(link.now, rtt_s=rtt_s))

    def admit(self, now: float, wanted: Wanted) -> Verdict:
        """Promise a request its place, or say that there is none for it."""
        in_time = self.in_time(wanted.deadline_s)
        expected = {name: self.expect(now, wanted, name) for name in self._workers}
        fits = {
            name: one
            for name, one in expected.items()
            if self._policy == "none"
            or (one.total <= in_time and self._keeps_promises(now, wanted, name))
        }
        if fits:
            worker = min(fits, key=lambda name: fits[name].total)
            self._promise(now, wanted, worker, due=now + in_time - fits[worker].down)
            return Verdict(place="cloud", worker=worker, expected_s=fits[worker].total)
        short_of = _short_of(min(expected.values(), key=lambda one: one.total, default=None))
        if wanted.own_s <= in_time:
            return Verdict(place="edge", expected_s=wanted.own_s, short_of=short_of)
        return Verdict(place="shed", short_of=short_of)

    def in_time(self, deadline_s: float) -> float:
        """Seconds that may be expected for a request that has so many."""
        return (1 - self._slack) * deadline_s

    def come(
        self, now: float, request_id: str, tokens: float, *, among: Collection[str] | None = None
    ) -> str | None:
        """A request is here: the worker it was promised to, else the one that is soonest through.

        So it is for one that nobody announced, and for one whose worker has gone or is not `among`
        those that can take it now. None while there is no worker.
        """
        could = self._workers.keys() if among is None else self._workers.keys() & set(among)
        if (promised := self._at.get(request_id)) is not None:
            if promised in could:
                self._workers[promised].begin(now, request_id)
                return promised
            self._workers[promised].remove(now, request_id)
            del self._at[request_id]
        expected = [(self._workers[name].expect(now, tokens), name) for name in could]
        if not expected:
            return None
        worker = min(expected)[1]
        self._workers[worker].put(now, request_id, tokens)
        self._at[request_id] = worker
        return worker

    def end(self, now: float, request_id: str) -> None:
        """A request is through, or given up: what was promised to it is free."""
        worker = self._at.pop(request_id, None)
        self._due.pop(request_id, None)
        if worker is not None:
            self._workers[worker].remove(now, request_id)

    def expect(self, now: float, wanted: Wanted, worker: str) -> Expected:
        """What a request would take at this worker, as far as this policy sees."""
        link = self._links.get(wanted.link)
        up = down = 0.0
        if link is not None and self._policy in ("joint", "network"):
            leaves = now + wanted.ready_s
            up = link.up.expect(leaves, wanted.bytes_up) - leaves
            back = leaves + up
            down = link.down.expect(back, wanted.bytes_down) - back
        elif link is not None:
            up = _idle(link.first.rtt_s, link.first.up_bytes_s, wanted.bytes_up)
            down = _idle(link.first.rtt_s, link.first.down_bytes_s, wanted.bytes_down)
        server = self._workers[worker]
        idle = self._policy == "network"
        cloud = (BatchServer(server.pace) if idle else server).expect(now, wanted.tokens)
        return Expected(ready=wanted.ready_s, up=up, cloud=cloud, down=down)

    def _keeps_promises(self, now: float, wanted: Wanted, worker: str) -> bool:
        """Would those that run there still be through when they must be?"""
        if self._policy == "network":
            return True
        later = self._workers[worker].expect_others(now, wanted.tokens)
        return all(now + seconds <= self._due.get(job, inf) for job, seconds in later.items())

    def _promise(self, now: float, wanted: Wanted, worker: str, *, due: float) -> None:
        self._due[wanted.request_id] = due
        self._workers[worker].put(now, wanted.request_id, wanted.tokens, coming=True)
        self._at[wanted.request_id] = worker
        if (link := self._links.get(wanted.link)) is not None:
            link.up.arrival(now, wanted.bytes_up)
            link.down.arrival(now, wanted.bytes_down)


def _short_of(expected: Expected | None) -> str:
    """Which of the two takes longer."""
    if expected is None:
        return "compute"
    return "link" if expected.up + expected.down > expected.cloud else "compute"


def _idle(rtt_s: float, bytes_s: float, size: float) -> float:
    return rtt_s / 2 + size / bytes_s
