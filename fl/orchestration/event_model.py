"""A scene played as a discrete-event model: no process, no model, no waiting.

It has the same parts as the real thing: an edge model a site, a shared link a cell, workers behind
one admission that knows only what adverts and its own book tell it. A request goes

    arrives -> site enriches, and asks to be admitted meanwhile -> up -> worker -> down -> answered
                                                   or: the site answers itself, or it is shed

and is given up wherever it is when its deadline has passed, as a gRPC deadline does.
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from math import inf

from fl.link.line import Line
from fl.link.profiles import profile
from fl.link.speed import LinkSpeed
from fl.orchestration.admission import Admission, Verdict, Wanted
from fl.orchestration.batch_server import BatchServer
from fl.orchestration.scene import Arrival, Freight, Loss, Scene

PROBE_BYTES = 16_384  # as routing/link_meter.py sends


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a request."""

    at: float
    site: int
    place: str  # cloud | edge | shed, or "" where it was given up before it had one
    seconds: float  # until its answer, or until it was given up
    in_time: bool
    short_of: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One moment of the scene."""

    at: float
    running: int  # requests at all workers
    edge_waiting: int  # requests at all sites' models
    link_delay_s: float  # what the worst cell's line would make a byte wait, up


@dataclass
class _Request:
    number: int
    arrival: Arrival
    cell: int
    enriched: bool = False
    verdict: Verdict | None = None
    over: bool = False
    at: "_Server | None" = None  # that it was given to last

    @property
    def id(self) -> str:
        return str(self.number)


@dataclass
class _Server:
    """A BatchServer in the calendar: the entry of its next end is the newest one."""

    server: BatchServer
    through: Callable[[str], None]
    version: int = 0


@dataclass
class _Cell:
    up: Line
    down: Line
    rtt_s: float = 0.0


@dataclass
class Played:
    """All outcomes in the order of arrival, and what it looked like meanwhile."""

    outcomes: list[Outcome] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)


class EventModel:
    """Plays one scene under one policy, once."""

    def __init__(self, scene: Scene, admission: Admission, *, sample_s: float = 1.0) -> None:
        self._scene, self._admission, self._sample_s = scene, admission, sample_s
        self._calendar: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._now = 0.0
        cells = range(1 + max(scene.cell_of, default=0))
        self._cells = [_Cell(up=_line(), down=_line()) for _ in cells]
        self._edges = [_Server(BatchServer(scene.edge), self._edge_through) for _ in scene.cell_of]
        self._workers: dict[str, _Server] = {}
        self._requests = [
            _Request(number=n, arrival=arrival, cell=scene.cell_of[arrival.site])
            for n, arrival in enumerate(scene.arrivals)
        ]
        self._outcomes: dict[int, Outcome] = {}
        self._stranded: list[_Request] = []  # no worker was left for them
        self._samples: list[Sample] = []

    def play(self) -> Played:
        """Play it to the end."""
        scene = self._scene
        for change in scene.changes:
            self._at(change.at, lambda c=change: self._change(c.cell, c.profile))  # type: ignore[misc]
        for name in scene.workers:
            self._begin_worker(name)
        for loss in scene.losses:
            self._at(loss.at, lambda one=loss: self._lose(one))  # type: ignore[misc]
            self._at(loss.back_at, lambda one=loss: self._back(one.worker))  # type: ignore[misc]
        for freight in scene.freight:
            self._at(freight.at, lambda one=freight: self._freight(one))  # type: ignore[misc]
        for cell in range(len(self._cells)):
            self._at(0.0, lambda one=cell: self._advert(one))  # type: ignore[misc]
        for request in self._requests:
            self._at(request.arrival.at, lambda one=request: self._arrives(one))  # type: ignore[misc]
        self._at(0.0, self._sample)
        while self._calendar:
            self._now, _, happens = heapq.heappop(self._calendar)
            happens()
        return Played(
            outcomes=[self._outcomes[request.number] for request in self._requests],
            samples=self._samples,
        )

    # A request's way.

    def _arrives(self, request: _Request) -> None:
        costs, edge = self._scene.costs, self._edges[request.arrival.site]
        tokens = costs.enriched_tokens
        ready_s = edge.server.expect(self._now, tokens)
        own_s = edge.server.expect(self._now, tokens + request.arrival.answer_tokens)
        self._put(edge, request, request.id, tokens)
        told_at = self._now
        arrives = self._cells[request.cell].up.arrival(self._now, costs.talk_bytes)

        def decide() -> None:
            passed = self._now - told_at
            wanted = Wanted(
                request_id=request.id,
                link=str(request.cell),
                deadline_s=self._scene.deadline_s - passed,
                bytes_up=costs.bytes_up,
                bytes_down=costs.bytes_down,
                tokens=request.arrival.answer_tokens,
                ready_s=max(0.0, ready_s - passed),
                own_s=max(0.0, own_s - passed),
            )
            self._decided(request, self._admission.admit(self._now, wanted))

        self._at(arrives, decide)
        patience_s = self._admission.in_time(self._scene.deadline_s) - own_s
        if patience_s > 0:
            self._at(self._now + patience_s, lambda: self._no_word(request))
        self._at(self._now + self._scene.deadline_s, lambda: self._give_up(request))

    def _no_word(self, request: _Request) -> None:
        """The site has waited for a verdict as long as it can."""
        if request.verdict is None:
            request.verdict = Verdict(place="edge", short_of="link")
            self._go_on(request)

    def _decided(self, request: _Request, verdict: Verdict) -> None:
        back = self._cells[request.cell].down.arrival(self._now, self._scene.costs.talk_bytes)

        def known() -> None:
            if request.verdict is None:
                request.verdict = verdict
                self._go_on(request)
            else:  # the site has not waited, and says so
                self._admission.end(self._now, request.id)

        self._at(back, known)

    def _edge_through(self, job: str) -> None:
        number, _, own = job.partition("/")
        request = self._requests[int(number)]
        if own:
            self._answered(request)
        else:
            request.enriched = True
            self._go_on(request)

    def _go_on(self, request: _Request) -> None:
        """Both are there, or the request is shed: where to now?"""
        verdict = request.verdict
        if request.over or verdict is None:
            return
        if verdict.place == "shed":
            self._end(request, in_time=False)
        elif request.enriched and verdict.place == "edge":
            own = f"{request.id}/own"
            edge = self._edges[request.arrival.site]
            self._put(edge, request, own, request.arrival.answer_tokens)
        elif request.enriched:
            arrives = self._cells[request.cell].up.arrival(self._now, self._scene.costs.bytes_up)
            self._at(arrives, lambda: self._at_cloud(request))

    def _at_cloud(self, request: _Request) -> None:
        if request.over:
            return
        worker = self._admission.come(self._now, request.id, request.arrival.answer_tokens)
        if worker is None:
            self._stranded.append(request)
        else:
            tokens = request.arrival.answer_tokens
            self._put(self._workers[worker], request, request.id, tokens)

    def _worker_through(self, job: str) -> None:
        request = self._requests[int(job)]
        self._admission.end(self._now, request.id)
        cell = self._cells[request.cell]
        arrives = cell.down.arrival(self._now, self._scene.costs.bytes_down)
        self._at(arrives, lambda: self._answered(request))

    def _answered(self, request: _Request) -> None:
        if not request.over:
            self._end(request, in_time=True)

    def _give_up(self, request: _Request) -> None:
        if request.over:
            return
        if (server := request.at) is not None:
            for job in (request.id, f"{request.id}/own"):
                if server.server.remove(self._now, job):
                    self._next_of(server)
        self._end(request, in_time=False)

    def _end(self, request: _Request, *, in_time: bool) -> None:
        request.over = True
        self._admission.end(self._now, request.id)
        verdict = request.verdict
        self._outcomes[request.number] = Outcome(
            at=request.arrival.at,
            site=request.arrival.site,
            place=verdict.place if verdict else "",
            seconds=self._now - request.arrival.at,
            in_time=in_time,
            short_of=verdict.short_of if verdict else "",
        )

    # What changes by itself.

    def _change(self, cell: int, name: str) -> None:
        its, now = profile(name), self._cells[cell]
        now.rtt_s = its.rtt_ms / 1000
        now.up.change(bytes_per_s=its.up_mbit_s * 125_000, delay_s=now.rtt_s / 2)
        now.down.change(bytes_per_s=its.down_mbit_s * 125_000, delay_s=now.rtt_s / 2)

    def _advert(self, cell: int) -> None:
        """The link as probes would find it, what lies on it included."""
        its, now = self._cells[cell], self._now
        empty_up, empty_down = its.up.expect(now, 0) - now, its.down.expect(now, 0) - now
        up_s = its.up.expect(now, PROBE_BYTES) - now - empty_up
        down_s = its.down.expect(now, PROBE_BYTES) - now - empty_down
        speed = LinkSpeed(
            rtt_s=empty_up + empty_down,
            up_bytes_s=PROBE_BYTES / up_s if up_s else inf,
            down_bytes_s=PROBE_BYTES / down_s if down_s else inf,
        )
        told = now + empty_up
        self._at(told, lambda: self._admission.link(str(cell), speed))
        if now + self._scene.advert_s < self._scene.seconds:
            self._at(now + self._scene.advert_s, lambda: self._advert(cell))

    def _freight(self, freight: Freight) -> None:
        cell = self._cells[freight.cell]
        cell.up.arrival(self._now, freight.up)
        cell.down.arrival(self._now, freight.down)

    def _lose(self, loss: Loss) -> None:
        gone = self._workers.pop(loss.worker)
        gone.version += 1
        self._admission.lose(loss.worker)
        for job in gone.server.jobs:  # the front asks again elsewhere, from the beginning
            self._at_cloud(self._requests[int(job)])

    def _back(self, worker: str) -> None:
        self._begin_worker(worker)
        stranded, self._stranded = self._stranded, []
        for request in stranded:
            self._at_cloud(request)

    def _begin_worker(self, name: str) -> None:
        pace = self._scene.workers[name]
        self._workers[name] = _Server(BatchServer(pace), self._worker_through)
        self._admission.worker(name, pace)

    def _sample(self) -> None:
        waits = [cell.up.expect(self._now, 0) - self._now - cell.rtt_s / 2 for cell in self._cells]
        self._samples.append(
            Sample(
                at=self._now,
                running=sum(len(worker.server) for worker in self._workers.values()),
                edge_waiting=sum(len(edge.server) for edge in self._edges),
                link_delay_s=max(waits),
            )
        )
        if self._now + self._sample_s < self._scene.seconds:
            self._at(self._now + self._sample_s, self._sample)

    # The calendar.

    def _at(self, when: float, happens: Callable[[], None]) -> None:
        heapq.heappush(self._calendar, (when, next(self._order), happens))

    def _put(self, server: _Server, request: _Request, job: str, tokens: float) -> None:
        request.at = server
        server.server.put(self._now, job, tokens)
        self._next_of(server)

    def _next_of(self, server: _Server) -> None:
        """Enter when its next request is through, in place of what was entered before."""
        server.version += 1
        version, found = server.version, server.server.next_through()
        if found is None:
            return
        when, job = found

        def through() -> None:
            if server.version == version:
                server.server.remove(self._now, job)
                self._next_of(server)
                server.through(job)

        self._at(when, through)


def _line() -> Line:
    return Line(bytes_per_s=0, delay_s=0)
