"""netgpt.v1.SplitService: hidden states in, tokens out, by the layers that run in the cloud."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import grpc

from fl.errors import GenerationError
from fl.generation import BASE, GenerationRequest
from fl.wire.codec import check_request
from fl.wire.netgpt.v1 import split_pb2 as pb
from fl.wire.netgpt.v1 import split_pb2_grpc as pb_grpc
from server.generation.engine import Engine
from server.generation.split_places import SplitPlaces

if TYPE_CHECKING:
    from server.generation.split import Split

Context = grpc.aio.ServicerContext[pb.RunRequest, pb.RunResponse]
_PROMPT = "-"  # stands where a request has its prompt: here none travels


class SplitService(pb_grpc.SplitServiceServicer):
    """Runs the upper layers of the model that the engine answers with."""

    def __init__(
        self,
        most: int,
        refused: Callable[[str], None] = lambda status: None,
        *,
        check_site: Callable[[str], None] = lambda site_id: None,
    ) -> None:
        """`most` requests at a time; `refused` is told the status of each that does not begin;
        `check_site` raises GenerationError for a site that is not to be answered.
        """
        self._check_site = check_site
        self.engine: Engine | None = None  # while loading and draining
        self._places, self._refused = SplitPlaces(most), refused

    async def Run(
        self, requests: AsyncIterator[pb.RunRequest], context: Context
    ) -> AsyncIterator[pb.RunResponse]:
        try:
            split = self._begun(await anext(requests))
        except GenerationError as error:
            self._refused(error.status)
            raise
        try:
            yield pb.RunResponse(started=pb.SplitStarted(positions=split.positions))
            async for request in requests:
                if request.WhichOneof("event") != "states":
                    raise _bad("expected states after begin")
                states = request.states
                token = await asyncio.to_thread(split.advance, states.data, more=states.more)
                if token is not None:
                    yield pb.RunResponse(token=pb.NextToken(id=token))
                if split.finish_reason:
                    yield pb.RunResponse(finished=_finished(split))
                    return
        finally:
            self._places.leave()

    def _begun(self, request: pb.RunRequest) -> "Split":
        """The request's split; it has taken a place."""
        begin, wanted = request.begin, _wanted(request)
        self._check_site(wanted.site_id)
        if self.engine is None:
            raise GenerationError(
                "The cloud is loading its model or shutting down.", status="UNAVAILABLE"
            )
        model = self.engine.language_model()
        if model.release != BASE or begin.model_fingerprint != model.fingerprint:
            raise GenerationError(
                "The layers at the site are not of the model that answers here "
                f"({model.fingerprint[:12]}, release {model.release}).",
                status="FAILED_PRECONDITION",
            )
        from server.generation.split import Split  # imports torch; the model has, too

        self._places.take()
        try:
            return Split(model, wanted, first=begin.layers, numbers=begin.numbers)
        except BaseException:
            self._places.leave()
            raise


def _wanted(request: pb.RunRequest) -> GenerationRequest:
    if request.WhichOneof("event") != "begin":
        raise _bad("expected begin as the first message")
    begin = request.begin
    wanted = GenerationRequest(
        request_id=begin.request_id,
        site_id=begin.site_id,
        prompt=_PROMPT,
        max_new_tokens=begin.max_new_tokens,
        temperature=begin.temperature,
        top_p=begin.top_p,
        seed=begin.seed,
    )
    check_request(wanted)
    return wanted


def _finished(split: "Split") -> pb.SplitFinished:
    return pb.SplitFinished(
        finish_reason=split.finish_reason,
        prompt_tokens=split.prompt_tokens,
        completion_tokens=split.completion_tokens,
        prefill_seconds=split.prefill_seconds,
        decode_seconds=split.decode_seconds,
        cpu_seconds=split.cpu_seconds,
    )


def _bad(why: str) -> GenerationError:
    return GenerationError(f"Refused: {why}.", status="INVALID_ARGUMENT")
