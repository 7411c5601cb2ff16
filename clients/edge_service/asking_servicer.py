"""netgpt.v1.AskingService: a short prompt in, the enriched prompt and the cloud's answer out."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from time import perf_counter

import grpc

from clients.asking.ask import Answered, Leaving, disclose_and_answer
from clients.asking.cloud_channel import CloudChannel
from clients.asking.enrichment import Enriched, enrich
from clients.edge_model import EdgeModel
from clients.edge_service.asking_codec import answered_to_wire, leaving_to_wire, piece_to_wire
from clients.edge_service.held_book import HeldBook
from clients.edge_service.model_owner import ModelOwner
from clients.edge_service.serving import InUse, Serving
from clients.edge_service.workbench import Workbench
from clients.place_card import card_text, read_facts
from fl.errors import GenerationError
from fl.settings import Settings
from fl.site import Site
from fl.site_list import site_folder
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc

LONGEST_PROMPT = 4000  # characters


class AskingServicer(pb_grpc.AskingServiceServicer):
    """What people ask at this site."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        owner: ModelOwner,
        serving: Serving,
        channel: CloudChannel,
        book: HeldBook,
        bench: Workbench,
    ) -> None:
        self._settings, self._site = settings, site
        self._owner, self._serving, self._channel = owner, serving, channel
        self._book, self._bench = book, bench

    def Ask(
        self, request: pb.AskRequest, context: grpc.ServicerContext
    ) -> Iterator[pb.AskResponse]:
        started = perf_counter()
        short = _checked(request.short)
        in_use = self._serving.now()  # once: a swap from here on is for later prompts
        if in_use is None:
            raise GenerationError(
                f"No release has reached site {self._site.id} yet, so it cannot enrich prompts.",
                status="FAILED_PRECONDITION",
            )
        try:
            card, enriched = self._enrich(short, in_use, context)
        except CancelledError:
            return  # who asked has left
        for event in disclose_and_answer(
            short,
            card=card,
            enriched=enriched,
            channel=self._channel,
            settings=self._settings,
            site_id=self._site.id,
            started=started,
            on_sent=lambda generation: _when_left(context, generation.cancel),
        ):
            if isinstance(event, Answered):
                yield answered_to_wire(event)
            elif isinstance(event, Leaving):
                release, seconds = in_use.release, perf_counter() - started
                yield leaving_to_wire(
                    event,
                    federation=release.federation,
                    release_number=release.number,
                    seconds=seconds,
                )
            else:
                yield piece_to_wire(event)

    def GetStatus(
        self, request: pb.GetStatusRequest, context: grpc.ServicerContext
    ) -> pb.GetStatusResponse:
        in_use, progress = self._serving.now(), self._bench.progress
        train, heldout = self._book.sizes()
        status = pb.GetStatusResponse(
            site_id=self._site.id,
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

    def _enrich(
        self, short: str, in_use: InUse, context: grpc.ServicerContext
    ) -> tuple[str, Enriched]:
        """Card and enriched prompt, on the model's thread; the card's facts are of this moment."""
        asking = self._settings.asking
        facts = read_facts(
            site_folder(self._settings, self._site.id) / "place.json", place=self._site.place
        )

        def write(model: EdgeModel) -> tuple[str, Enriched]:
            card = card_text(
                facts,
                budget=asking.card_tokens,
                count_tokens=lambda text: len(model.token_ids(text)),
            )
            return card, enrich(model, card, short, asking.enriched_tokens)

        future = self._owner.ask(write, in_use.adapter)
        _when_left(context, future.cancel)
        try:
            return future.result(timeout=asking.timeout_s)
        except TimeoutError:
            future.cancel()
            raise GenerationError(
                f"This site's model was busy for {asking.timeout_s:g} s (asking.timeout_s).",
                status="DEADLINE_EXCEEDED",
            ) from None


def _checked(short: str) -> str:
    if not short.strip() or len(short) > LONGEST_PROMPT:
        raise GenerationError(
            f"A short prompt has 1 to {LONGEST_PROMPT} characters, found {len(short)}.",
            status="INVALID_ARGUMENT",
        )
    return short


def _when_left(context: grpc.ServicerContext, cancel: Callable[[], object]) -> None:
    """Cancel when the caller leaves; now, if it has left already."""

    def left() -> None:
        cancel()

    if not context.add_callback(left):
        left()
