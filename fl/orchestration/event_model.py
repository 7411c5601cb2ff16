"""A scene played as a discrete-event model: no process, no model, no waiting.

It has the same parts as the real thing: an edge model a site, a shared link a cell, workers behind
one admission that knows only what adverts and its own book tell it. A request goes

    arrives -> site enriches, and asks to be admitted meanwhile -> up -> worker -> down -> answered
                                                   or: the site answers itself, or it is shed

and is given up wherever it is when its deadline has passed, as a gRPC deadline does.
"""

from dataclasses import dataclass
from functools import partial
from math import ceil, inf

from fl.orchestration.admission import Admission, Verdict, Wanted
from fl.orchestration.calendar import Calendar
from fl.orchestration.outcomes import Outcome, Played, Sample
from fl.orchestration.scene import Arrival, Freight, Scene
from fl.orchestration.stations import CellLink, SiteModel
from fl.orchestration.workforce import Workforce

PROBES = 5  # round trips of one measurement, as in routing/link_meter.py


@dataclass
class _Request:
    number: int
    arrival: Arrival
    cell: int
    enriched: bool = False
    verdict: Verdict | None = None
    over: bool = False

    @property
    def id(self) -> str:
        return str(self.number)


class EventModel:
    """Plays one scene under one policy, once."""

    def __init__(self, scene: Scene, admission: Admission, *, sample_s: float = 1.0) -> None:
        self._scene, self._admission, self._sample_s = scene, admission, sample_s
        self._calendar = Calendar()
        cells = range(1 + max(scene.cell_of, default=0))
        self._links = [CellLink.unset() for _ in cells]
        self._models = [SiteModel(self._calendar, scene.edge, self._written) for _ in scene.cell_of]
        self._workers = Workforce(
            self._calendar,
            admission,
            scene.workers,
            through=self._worker_through,
            wanted=lambda job: not self._requests[int(job)].over,
        )
        self._requests = [
            _Request(number=n, arrival=arrival, cell=scene.cell_of[arrival.site])
            for n, arrival in enumerate(scene.arrivals)
        ]
        self._outcomes: dict[int, Outcome] = {}
        self._rtts: dict[int, tuple[float, float]] = {}  # site -> when it saw which round trip
        self._samples: list[Sample] = []

    def play(self) -> Played:
        """Play it to the end."""
        scene, at = self._scene, self._calendar.at
        for change in scene.changes:
            at(change.at, partial(self._links[change.cell].change, change.profile))
        for name in scene.workers:
            self._workers.begin(name)
        for loss in scene.losses:
            at(loss.at, partial(self._workers.lose, loss.worker))
            at(loss.back_at, partial(self._workers.begin, loss.worker))
        for freight in scene.freight:
            at(freight.at, partial(self._freight, freight))
        for cell in range(len(self._links)):
            at(0.0, partial(self._advert, cell))
        for request in self._requests:
            at(request.arrival.at, partial(self._arrives, request))
        at(0.0, self._sample)
        self._calendar.run()
        return Played(
            outcomes=[self._outcomes[request.number] for request in self._requests],
            samples=self._samples,
        )

    # A request's way.

    def _arrives(self, request: _Request) -> None:
        now, scene, link = self._calendar.now, self._scene, self._links[request.cell]
        costs, model = scene.costs, self._models[request.arrival.site]
        enriched, answer = costs.enriched_tokens, costs.answer_tokens
        ready_s = model.believed.expect(now, enriched)
        own_s = model.believed.expect_both(now, enriched, answer)
        model.put(request.id, request.arrival.enriched_tokens, believed=enriched)
        arrives = link.send_up(now, costs.talk_bytes)
        seen_at, rtt_s = self._rtts.get(request.arrival.site, (-inf, 0.0))

        def decide() -> None:
            passed = self._calendar.now - now
            if now - seen_at < scene.measure_s:
                self._admission.round_trip(str(request.cell), rtt_s)
            wanted = Wanted(
                request_id=request.id,
                link=str(request.cell),
                deadline_s=scene.deadline_s - passed,
                bytes_up=costs.bytes_up,
                bytes_down=costs.bytes_down,
                tokens=costs.answer_tokens,
                ready_s=max(0.0, ready_s - passed),
                own_s=max(0.0, own_s - passed),
            )
            self._decided(request, self._admission.admit(self._calendar.now, wanted), asked_at=now)

        self._calendar.at(arrives, decide)
        self._calendar.at(now + scene.deadline_s, partial(self._give_up, request))

    def _no_word(self, request: _Request) -> None:
        """The site has waited for a verdict as long as its own answer could be in time."""
        if request.verdict is None and not request.over:
            self._settle(request, Verdict(place="edge", short_of="link"))

    def _patience(self, request: _Request) -> float:
        """Until when it waits, once its prompt is enriched."""
        now, scene = self._calendar.now, self._scene
        answer_s = self._models[request.arrival.site].believed.expect(
            now, scene.costs.answer_tokens
        )
        in_time = request.arrival.at + self._admission.in_time(scene.deadline_s)
        fits = now + answer_s <= in_time
        return in_time - answer_s if fits else request.arrival.at + scene.deadline_s

    def _decided(self, request: _Request, verdict: Verdict, *, asked_at: float) -> None:
        link = self._links[request.cell]
        back = link.send_down(self._calendar.now, self._scene.costs.talk_bytes)

        def known() -> None:
            now = self._calendar.now
            self._rtts[request.arrival.site] = now, now - asked_at
            if request.verdict is None and not request.over:
                self._settle(request, verdict)
            else:  # the site has not waited, and says so
                self._admission.end(self._calendar.now, request.id)

        self._calendar.at(back, known)

    def _settle(self, request: _Request, verdict: Verdict) -> None:
        request.verdict = verdict
        self._go_on(request)

    def _written(self, job: str) -> None:
        """A site's model has written a text."""
        number, _, own = job.partition("/")
        request = self._requests[int(number)]
        if own:
            self._calendar.at(self._now_and_overhead(), partial(self._answered, request))
        else:
            request.enriched = True
            self._calendar.at(self._patience(request), partial(self._no_word, request))
            self._go_on(request)

    def _go_on(self, request: _Request) -> None:
        """Both are there: where to now?"""
        verdict, now = request.verdict, self._calendar.now
        if request.over or verdict is None or not request.enriched:
            return
        if verdict.place == "shed":
            self._end(request, in_time=False)
        elif verdict.place == "edge":
            self._models[request.arrival.site].put(
                f"{request.id}/own",
                request.arrival.answer_tokens,
                believed=self._scene.costs.answer_tokens,
            )
        else:
            link = self._links[request.cell]
            arrives = link.send_up(now, self._scene.costs.bytes_up)
            tokens = request.arrival.answer_tokens
            self._calendar.at(arrives, partial(self._workers.put, request.id, tokens))

    def _worker_through(self, job: str) -> None:
        request, now = self._requests[int(job)], self._calendar.now
        self._admission.end(now, request.id)
        arrives = self._links[request.cell].send_down(now, self._scene.costs.bytes_down)
        self._calendar.at(arrives + self._scene.costs.overhead_s, partial(self._answered, request))

    def _answered(self, request: _Request) -> None:
        if not request.over:
            self._end(request, in_time=True)

    def _give_up(self, request: _Request) -> None:
        if request.over:
            return
        model = self._models[request.arrival.site]
        model.drop(request.id)
        model.drop(f"{request.id}/own")
        self._workers.remove(request.id)
        self._end(request, in_time=False)

    def _end(self, request: _Request, *, in_time: bool) -> None:
        request.over = True
        now, verdict = self._calendar.now, request.verdict
        self._admission.end(now, request.id)
        self._outcomes[request.number] = Outcome(
            at=request.arrival.at,
            site=request.arrival.site,
            place=verdict.place if verdict else "",
            seconds=now - request.arrival.at,
            in_time=in_time,
            short_of=verdict.short_of if verdict else "",
        )

    def _now_and_overhead(self) -> float:
        return self._calendar.now + self._scene.costs.overhead_s

    # What changes by itself.

    def _advert(self, cell: int) -> None:
        """The link is measured, which takes a while, and told with the next advert."""
        scene, link, now = self._scene, self._links[cell], self._calendar.now
        speed = link.probed(now)
        done = now + PROBES * speed.rtt_s
        told = ceil(done / scene.advert_s) * scene.advert_s + speed.rtt_s / 2
        self._calendar.at(told, partial(self._admission.link, str(cell), speed))
        if (again := done + scene.measure_s) < scene.seconds:
            self._calendar.at(again, partial(self._advert, cell))

    def _freight(self, freight: Freight) -> None:
        link = self._links[freight.cell]
        link.send_up(self._calendar.now, freight.up)
        link.send_down(self._calendar.now, freight.down)

    def _sample(self) -> None:
        now = self._calendar.now
        self._samples.append(
            Sample(
                at=now,
                at_workers=self._workers.requests,
                workers_up=self._workers.up,
                bytes_up=sum(link.bytes_up for link in self._links),
                bytes_down=sum(link.bytes_down for link in self._links),
            )
        )
        if now + self._sample_s < self._scene.seconds:
            self._calendar.at(now + self._sample_s, self._sample)
