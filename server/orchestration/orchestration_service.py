"""netgpt.v1.OrchestrationService: messages in, the book asked, messages out."""

import math
import sys
from collections.abc import Sequence
from typing import Any

from fl.errors import GenerationError
from fl.generation import BASE
from fl.link.speed import LinkSpeed
from fl.wire.netgpt.v1 import orchestration_pb2 as pb
from fl.wire.netgpt.v1 import orchestration_pb2_grpc as pb_grpc
from server.generation.workers.placing import WorkerState
from server.orchestration.adverts import Advert
from server.orchestration.book import Book, named
from server.orchestration.booked import Booked
from server.orchestration.entries import Announced

LONGEST_NAME = 128  # characters
MOST_BYTES = 1e9  # of a request or its answer
LONGEST_S = 86_400.0  # that a request may have, or take at its site
LONGEST_ROUND_TRIP_S = 600.0
MOST_PER_S = 1e6  # requests a second that a site may forecast

FOR_SITES = ("deny", "deadline", "mode")  # rules that the site itself obeys

_PLACES = {"cloud": pb.PLACE_CLOUD, "edge": pb.PLACE_EDGE, "shed": pb.PLACE_SHED}


class OrchestrationService(pb_grpc.OrchestrationServiceServicer):
    """Of a cloud that answers."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.engine: Booked | None = None  # while loading and draining

    async def Advertise(self, request: pb.SiteAdvert, context: Any) -> pb.AdvertTaken:
        _check_names(request.site_id, request.cell)
        _check_words(request.federation)
        link = _link(request.link) if request.HasField("link") else None
        _check_amounts(
            request.step_s, request.row_s, request.waiting, request.cores, request.memory_mb
        )
        _check_amounts(request.forecast_per_s, most=MOST_PER_S)
        self._book.advertise(
            Advert(
                site_id=request.site_id,
                cell=request.cell,
                cores=request.cores,
                memory_mb=request.memory_mb,
                waiting=request.waiting,
                step_s=request.step_s,
                row_s=request.row_s,
                link=link,
                federation=request.federation,
                release=request.release_number,
                forecast_per_s=request.forecast_per_s,
            )
        )
        return pb.AdvertTaken(
            rules=[
                pb.SiteRule(kind=rule.kind, value=rule.value, word=rule.word)
                for rule in self._book.rules().rules
                if rule.site == request.site_id and rule.kind in FOR_SITES
            ]
        )

    async def Admit(self, request: pb.AdmitRequest, context: Any) -> pb.AdmitResponse:
        _check_request(request.site_id, request.request_id)
        _check_names(request.cell)
        _check_amounts(request.bytes_up, request.bytes_down, most=MOST_BYTES)
        _check_amounts(request.deadline_s, request.ready_s, request.own_s, most=LONGEST_S)
        _check_amounts(request.rtt_s, most=LONGEST_ROUND_TRIP_S)
        if request.deadline_s == 0:
            raise _refused("deadline_s is above 0")
        if self.engine is None:
            raise GenerationError(
                "The cloud is loading its model or shutting down.", status="UNAVAILABLE"
            )
        self._book.staff(self.engine.workers)
        verdict = self._book.admit(
            Announced(
                request_id=named(request.site_id, request.request_id),
                site_id=request.site_id,
                cell=request.cell,
                deadline_s=request.deadline_s,
                bytes_up=request.bytes_up,
                bytes_down=request.bytes_down,
                ready_s=request.ready_s,
                own_s=request.own_s if request.HasField("own_s") else math.inf,
                rtt_s=request.rtt_s if request.HasField("rtt_s") else None,
            )
        )
        return pb.AdmitResponse(
            place=_PLACES[verdict.place],
            worker=verdict.worker,
            expected_s=verdict.expected_s,
            short_of=verdict.short_of,
        )

    async def Release(self, request: pb.ReleaseRequest, context: Any) -> pb.ReleaseResponse:
        _check_request(request.site_id, request.request_id)
        self._book.release(named(request.site_id, request.request_id))
        return pb.ReleaseResponse()

    async def Show(self, request: pb.ShowRequest, context: Any) -> pb.ShowResponse:
        engine, book = self.engine, self._book
        return pb.ShowResponse(
            sites=[
                pb.SiteShown(advert=_advert(advert), age_s=age) for age, advert in book.adverts()
            ],
            workers=_workers(book, engine.workers if engine is not None else ()),
            admission=book.policy,
            to_cloud=book.decided["cloud"],
            to_edge=book.decided["edge"],
            shed=book.decided["shed"],
            model=engine.model_name if engine is not None else "",
            cloud_release=engine.release if engine is not None else BASE,
        )


def _workers(book: Book, states: Sequence[WorkerState]) -> list[pb.WorkerShown]:
    known = {worker.name: worker for worker in book.workers()}
    shown = []
    for state in states:
        worker = known.get(state.name)  # none before it was asked about or had a request
        pace = worker.pace if worker else book.belief  # readers average it: 0 would be a lie
        shown.append(
            pb.WorkerShown(
                name=state.name,
                alive=state.up,
                running=state.running,
                waiting=state.waiting,
                restarts=state.restarts,
                promised=worker.promised if worker else 0,
                step_s=pace.step_s,
                row_s=pace.row_s,
            )
        )
    return shown


def _advert(advert: Advert) -> pb.SiteAdvert:
    link = advert.link
    return pb.SiteAdvert(
        site_id=advert.site_id,
        cell=advert.cell,
        cores=advert.cores,
        memory_mb=advert.memory_mb,
        waiting=advert.waiting,
        step_s=advert.step_s,
        row_s=advert.row_s,
        link=None
        if link is None
        else pb.Link(
            rtt_s=link.rtt_s,
            up_bytes_s=_told(link.up_bytes_s),
            down_bytes_s=_told(link.down_bytes_s),
        ),
        federation=advert.federation,
        release_number=advert.release,
        forecast_per_s=advert.forecast_per_s,
    )


def _link(its: pb.Link) -> LinkSpeed:
    """0 bytes a second is no bound, here infinitely many. Raises GenerationError."""
    _check_amounts(its.up_bytes_s, its.down_bytes_s)
    _check_amounts(its.rtt_s, most=LONGEST_ROUND_TRIP_S)
    return LinkSpeed(
        rtt_s=its.rtt_s,
        up_bytes_s=its.up_bytes_s or math.inf,
        down_bytes_s=its.down_bytes_s or math.inf,
    )


def _told(bytes_s: float) -> float:
    return 0.0 if math.isinf(bytes_s) else bytes_s


def _check_request(site_id: str, request_id: str) -> None:
    _check_names(site_id, request_id)
    if not request_id:
        raise _refused("a request has a request_id")


def _check_names(*names: str) -> None:
    """Names are words without "/", which stands between two of them in the book."""
    _check_words(*names)
    if any("/" in name for name in names):
        raise _refused('a name has no "/"')


def _check_words(*words: str) -> None:
    """Short ones: no text of a prompt fits in by mistake."""
    for word in words:
        if len(word) > LONGEST_NAME or any(c.isspace() for c in word):
            raise _refused(f"a name is one word of at most {LONGEST_NAME} characters")


def _check_amounts(*amounts: float, most: float = sys.float_info.max) -> None:
    if not all(0 <= amount <= most for amount in amounts):  # also refuses NaN
        raise _refused(
            "amounts are finite and not below 0"
            if most == sys.float_info.max
            else f"amounts are 0 to {most:g}"
        )


def _refused(expected: str) -> GenerationError:
    return GenerationError(f"Refused: expected {expected}.", status="INVALID_ARGUMENT")
