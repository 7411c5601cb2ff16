"""The line to a worker over gRPC: netgpt.v1 as sites speak it, to an address of this machine."""

from collections.abc import Iterator
from typing import Any

import grpc

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.wire.channel import open_channel
from fl.wire.codec import events_from_wire, request_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb
from fl.wire.netgpt.v1 import generation_pb2_grpc as pb_grpc
from server.generation.workers.worker import About, WorkerLost

_SITE = "front"  # stands for the site where none asks
_OUR_FAILURE = "The cloud failed; error "  # how a worker speaks of a mistake in its own code
# These say that nobody is there any more. A stream that is cut inside is INTERNAL or UNKNOWN.
_GONE = ("UNAVAILABLE", "CANCELLED", "UNKNOWN", "INTERNAL")


class GrpcCall:
    """A request on its way through a worker."""

    def __init__(self, stub: pb_grpc.GenerationServiceStub, request: GenerationRequest) -> None:
        message = request_to_wire(request)
        message.tokens = True
        self.started = False
        try:
            self._call: Any = stub.Generate(message)
        except ValueError as error:  # so says a channel that was closed meanwhile
            raise WorkerLost from error

    def __iter__(self) -> Iterator[TextPiece | Reply]:
        try:
            yield from events_from_wire(self._messages())
        except GenerationError as error:
            if error.status == "DATA_LOSS":  # a stream that was cut between two messages
                raise WorkerLost from error
            raise

    def cancel(self) -> None:
        """Give it up."""
        self._call.cancel()

    def _messages(self) -> Iterator[pb.GenerateResponse]:
        try:
            for message in self._call:
                self.started = True
                yield message
        except grpc.RpcError as error:
            raise _typed(error) from None


class GrpcLine:
    """A channel to one worker."""

    def __init__(self, address: str, *, patience_s: float) -> None:
        """`patience_s` is how long a look may take. Raises SettingsError beyond this machine."""
        self._channel = open_channel(address, None, setting="engine.workers")
        self._stub = pb_grpc.GenerationServiceStub(self._channel)
        self._patience_s = patience_s
        self._asked: Any = None

    def generate(self, request: GenerationRequest) -> GrpcCall:
        """Send a request."""
        return GrpcCall(self._stub, request)

    def look(self) -> About | None:
        """What the worker last said of itself, once, and ask again."""
        asked = self._asked
        if asked is None:
            self._ask()
            return None
        if not asked.done():
            return None
        self._asked = None
        try:
            said = asked.result().about
        except (grpc.RpcError, grpc.FutureCancelledError) as error:
            raise WorkerLost from error
        self._ask()
        return About(
            model_name=said.model_name,
            model_fingerprint=said.model_fingerprint,
            release=said.release,
            waiting_tokens=said.waiting_tokens,
            cache_tokens=said.cache_tokens,
            cache_limit=said.cache_limit,
        )

    def close(self) -> None:
        """Calls that still run end as lost."""
        self._channel.close()

    def _ask(self) -> None:
        request = pb.ProbeRequest(about=True, site_id=_SITE)
        self._asked = self._stub.Probe.future(request, timeout=self._patience_s)


def _typed(error: grpc.RpcError) -> WorkerLost | GenerationError:
    """A worker is our own code: what it says quotes no prompt and may be passed on."""
    status, said = error.code().name, error.details() or ""
    if status in _GONE and not said.startswith(_OUR_FAILURE):
        return WorkerLost(status)
    return GenerationError(said, status=status)
