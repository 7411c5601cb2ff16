"""netgpt.v1.OrchestrationService: messages in, the book asked, messages out."""

import math
from collections.abc import Sequence
from typing import Any

from fl.errors import GenerationError
from fl.generation import BASE
from fl.link.speed import LinkSpeed
from fl.wire.netgpt.v1 import orchestration_pb2 as pb
from fl.wire.netgpt.v1 import orchestration_pb2_grpc as pb_grpc
from server.generation.workers.placing import WorkerState
from server.orchestration.book import Advert, Announced, Book, named
from server.orchestration.booked import Booked

LONGEST_NAME = 128  # characters
MOST = 1e12  # of any amount: bytes, megabytes, seconds
LONGEST_DEADLINE_S = 86_400.0

_PLACES = {"cloud": pb.PLACE_CLOUD, "edge": pb.PLACE_EDGE, "shed": pb.PLACE_SHED}


class OrchestrationService(pb_grpc.OrchestrationServiceServicer):
    """Of a cloud that answers."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self.engine: Booked | None = None  # while loading and draining

    async def Advertise(self, request: pb.SiteAdvert, context: Any) -> pb.AdvertTaken:
        _check_names(request.site_id, request.cell, request.federation)
        link = None
        if request.HasField("link"):
            its = request.link
            _check_amounts(its.rtt_s, its.up_bytes_s, its.down_bytes_s)
            link = LinkSpeed(
                rtt_s=its.rtt_s,
                up_bytes_s=its.up_bytes_s or math.inf,
                down_bytes_s=its.down_bytes_s or math.inf,
            )
        _check_amounts(
            request.step_s, request.row_s, request.waiting, request.cores, request.memory_mb
        )
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
            )
        )
        return pb.AdvertTaken()

    async def Admit(self, request: pb.AdmitRequest, context: Any) -> pb.AdmitResponse:
        _check_names(request.cell)
        _check_ids(request.site_id, request.request_id)
        own_s = request.own_s if request.HasField("own_s") else math.inf
        _check_amounts(request.bytes_up, request.bytes_down, request.ready_s, request.rtt_s)
        if not (0 < request.deadline_s <= LONGEST_DEADLINE_S and own_s >= 0):
            raise _refused("deadline_s above 0 and at most a day, and own_s not below 0")
        if self.engine is None:
            raise GenerationError(
                "The cloud is loading its model or shutting down.", status="UNAVAILABLE"
            )
        self._book.staff([worker.name for worker in self.engine.workers if worker.up])
        verdict = self._book.admit(
            Announced(
                request_id=named(request.site_id, request.request_id),
                site_id=request.site_id,
                cell=request.cell,
                deadline_s=request.deadline_s,
                bytes_up=request.bytes_up,
                bytes_down=request.bytes_down,
                ready_s=request.ready_s,
                own_s=own_s,
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
        _check_ids(request.site_id, request.request_id)
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
        worker = known.get(state.name)  # none before its first request, and while it is away
        pace = worker.pace if worker else book.belief
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
            up_bytes_s=_or_no_bound(link.up_bytes_s),
            down_bytes_s=_or_no_bound(link.down_bytes_s),
        ),
        federation=advert.federation,
        release_number=advert.release,
    )


def _check_names(*names: str) -> None:
    """Names are short words: no text of a prompt fits in by mistake."""
    for name in names:
        if len(name) > LONGEST_NAME or any(c.isspace() for c in name):
            raise _refused(f"a name is one word of at most {LONGEST_NAME} characters")


def _check_ids(*names: str) -> None:
    """Names that together make one in the book: they must not run into each other."""
    _check_names(*names)
    if not all(names) or any("/" in name for name in names):
        raise _refused("a site and a request with names, without a slash")


def _or_no_bound(bytes_s: float) -> float:
    return 0.0 if math.isinf(bytes_s) else bytes_s  # as the .proto says it


def _check_amounts(*amounts: float) -> None:
    if not all(0 <= amount <= MOST for amount in amounts):
        raise _refused(f"amounts from 0 to {MOST:g}")


def _refused(expected: str) -> GenerationError:
    return GenerationError(f"Refused: expected {expected}.", status="INVALID_ARGUMENT")
