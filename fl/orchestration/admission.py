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
from dataclasses import dataclass
from math import inf

from fl.link.speed import LinkSpeed
from fl.orchestration.batch_server import BatchServer, Pace
from fl.orchestration.reservations import Link

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
    share: float = 1.0  # of a worker's time that it may count on; the rest is kept for others


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
    breaks_a_promise: bool = False  # somebody who was promised before would be late for it

    @property
    def total(self) -> float:
        return self.ready + self.up + self.cloud + self.down

    def short_of(self, in_time: float) -> str:
        """What there is too little of: where it would be late, that which takes longer."""
        if self.total <= in_time:
            return "compute"
        return "link" if self.up + self.down > self.cloud else "compute"


class Admission:
    """The book of what has been promised. Times are seconds of any one clock; not for threads."""

    def __init__(self, policy: str = "joint", *, slack: float = 0.1) -> None:
        """`slack` is the share of a deadline that is kept for what nobody foresees."""
        self._policy, self._slack = policy, slack
        self._workers: dict[str, BatchServer] = {}
        self._links: dict[str, Link] = {}
        self._at: dict[str, str] = {}  # request -> worker
        self._over: dict[str, str] = {}  # request -> the link that it crosses
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
        if name in self._links:
            self._links[name].change(speed)
        else:
            self._links[name] = Link(speed)

    def round_trip(self, name: str, rtt_s: float) -> None:
        """A known link's round trip is another one now."""
        if name in self._links:
            self._links[name].round_trip(rtt_s)

    def admit(self, now: float, wanted: Wanted) -> Verdict:
        """Promise a request its place, or say that there is none for it."""
        in_time = self.in_time(wanted.deadline_s)
        expected = {name: self.expect(now, wanted, name) for name in self._workers}
        fits = [
            name
            for name, one in expected.items()
            if self._policy == "none" or (one.total <= in_time and not one.breaks_a_promise)
        ]
        if fits:
            # Who may come is a matter of the policy; everyone is sent where least is to be done.
            worker = min(fits, key=lambda name: self._workers[name].expect(now, wanted.tokens))
            self._promise(now, wanted, worker, expected[worker], due=now + in_time)
            total = expected[worker].total
            return Verdict(place="cloud", worker=worker, expected_s=total)
        best = min(expected.values(), key=lambda one: one.total, default=None)
        short_of = "compute" if best is None else best.short_of(in_time)
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
        if (link := self._links.get(self._over.pop(request_id, ""))) is not None:
            link.free(request_id)
        if worker is not None:
            self._workers[worker].remove(now, request_id)

    def expect(self, now: float, wanted: Wanted, worker: str) -> Expected:
        """What a request would take at this worker, as far as this policy sees."""
        link, server = self._links.get(wanted.link), self._workers[worker]
        leaves = now + wanted.ready_s
        sees_links = self._policy in ("joint", "network")
        up = down = 0.0
        if link is not None:
            first = link.first
            up = (
                link.up.expect(leaves, wanted.bytes_up)
                if sees_links
                else _idle(first.rtt_s, first.up_bytes_s, wanted.bytes_up)
            )
        arrives = leaves + up
        through, breaks = self._cloud(now, wanted, server, arrives)
        if link is not None:
            down = (
                link.down.expect(through, wanted.bytes_down)
                if sees_links
                else _idle(first.rtt_s, first.down_bytes_s, wanted.bytes_down)
            )
        return Expected(
            ready=wanted.ready_s,
            up=up,
            cloud=through - arrives,
            down=down,
            breaks_a_promise=breaks,
        )

    def _cloud(
        self, now: float, wanted: Wanted, server: BatchServer, arrives: float
    ) -> tuple[float, bool]:
        """When it would be through at a worker, and whether somebody else would then miss his."""
        tokens = wanted.tokens / wanted.share  # it is as slow as a worker that others use too
        if self._policy == "network":
            return arrives + tokens * server.pace.token_s(1), False
        if self._policy == "none":
            return arrives + server.expect(now, tokens), False
        through = server.foresee(now, wanted.request_id, tokens, comes_at=arrives)
        mine = through.pop(wanted.request_id)
        late = any(when > self._due.get(job, inf) for job, when in through.items())
        return mine, late

    def _promise(
        self, now: float, wanted: Wanted, worker: str, expected: Expected, *, due: float
    ) -> None:
        name, leaves = wanted.request_id, now + expected.ready
        arrives = leaves + expected.up
        self._due[name] = due - expected.down
        self._workers[worker].put(now, name, wanted.tokens, comes_at=arrives)
        self._at[name] = worker
        if (link := self._links.get(wanted.link)) is not None:
            self._over[name] = wanted.link
            link.promise(
                name,
                leaves=leaves,
                up=wanted.bytes_up,
                answered=arrives + expected.cloud,
                down=wanted.bytes_down,
            )


def _idle(rtt_s: float, bytes_s: float, size: float) -> float:
    return rtt_s / 2 + size / bytes_s
