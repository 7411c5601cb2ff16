"""netgpt.v1.AskingService: a short prompt in, the enriched prompt and the answer out."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from time import perf_counter

import grpc

from clients.asking.ask import Answered, Wish
from clients.edge_service.asking_codec import answered_to_wire, leaving_to_wire, piece_to_wire
from clients.edge_service.corridor import Corridor, Enrichment
from clients.edge_service.held_book import HeldBook
from clients.edge_service.model_owner import ModelOwner
from clients.edge_service.workbench import Workbench
from fl.generation import TextPiece
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc


class AskingServicer(pb_grpc.AskingServiceServicer):
    """What people ask at this site."""

    def __init__(
        self, corridor: Corridor, *, owner: ModelOwner, book: HeldBook, bench: Workbench
    ) -> None:
        self._corridor, self._owner = corridor, owner
        self._book, self._bench = book, bench

    def Ask(
        self, request: pb.AskRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.AskResponse]:
        started = perf_counter()
        enrichment: Enrichment | None = None
        try:
            for event in self._corridor.ask(
                request.short,
                Wish(deadline_s=request.deadline_s if request.HasField("deadline_s") else None),
                started=started,
                mode=request.mode,
                person=request.person,
                when_left=lambda cancel: _when_left(context, cancel),
            ):
                if isinstance(event, Enrichment):
                    enrichment = event
                elif isinstance(event, Answered):
                    yield answered_to_wire(event)
                elif isinstance(event, TextPiece):
                    yield piece_to_wire(event)
                else:
                    release = enrichment.in_use.release if enrichment else None
                    yield leaving_to_wire(
                        event,
                        federation=release.federation if release else "",
                        release_number=release.number if release else 0,
                        seconds=perf_counter() - started,
                    )
        except CancelledError:
            return  # who asked has left

    def GetStatus(
        self, request: pb.GetStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetStatusResponse:
        in_use, progress = self._corridor.in_use(), self._bench.progress
        train, heldout = self._book.sizes()
        status = pb.GetStatusResponse(
            site_id=self._corridor.site.id,
            train_prompts=train,
            heldout_prompts=heldout,
            waiting=self._owner.waiting,
        )
        if in_use is not None:
            status.federation = in_use.release.federation
            status.release_number = in_use.release.number
        if progress is not None:
            status.learning.kind = progress.work.kind
            status.learning.round_number = progress.work.plan.round_number
            status.learning.step = progress.step
            status.learning.steps = progress.work.steps
        return status


def _when_left(context: grpc.ServicerContext, cancel: Callable[[], object]) -> None:
    """Cancel when the caller leaves; now, if it has left already."""

    def left() -> None:
        cancel()

    if not context.add_callback(left):
        left()
