"""An answer from a split model: states up, tokens down, text here.

first layers (here) -> states -> other layers and head (cloud) -> token -> first layers ...
"""

import queue
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from types import TracebackType

import grpc
import numpy as np

from clients.asking.ask import Wish
from clients.asking.cloud_channel import CloudChannel
from clients.splitting.lower_layers import LowerLayers, States
from fl.errors import GenerationError
from fl.generation import Reply, TextPiece
from fl.prompt_format import cloud_prompt
from fl.settings import Settings
from fl.text_stream import TextStream
from fl.wire.netgpt.v1 import split_pb2 as pb
from fl.wire.netgpt.v1 import split_pb2_grpc as pb_grpc

LARGEST = 48 * 1024  # bytes of states in one message


@dataclass(kw_only=True)
class Crossing:
    """What a split request has sent and got so far, in bytes."""

    states: int = 0  # of hidden states alone: tokens x hidden width x bytes a number
    up: int = 0  # of messages
    down: int = 0


class SplitAnswer:
    """One running request: iterate it for pieces of text and, last, the reply. Use with `with`."""

    def __init__(
        self,
        lower: LowerLayers,
        channel: CloudChannel,
        prompt: str,
        *,
        settings: Settings,
        site_id: str,
        wish: Wish = Wish(),  # noqa: B008 - frozen
        timeout_s: float | None = None,
    ) -> None:
        """`prompt` never leaves; what leaves are its states after the last layer here.

        `timeout_s` is to the answer's end, None the channel's.
        """
        self._lower, self._channel, self._wish = lower, channel, wish
        self._timeout_s = channel.timeout_s if timeout_s is None else timeout_s
        self._numbers = settings.split.numbers
        self._most_new = wish.max_new_tokens or settings.asking.answer_tokens
        self._ids = lower.token_ids(cloud_prompt(prompt))
        self._requests: queue.SimpleQueue[pb.RunRequest | None] = queue.SimpleQueue()
        self.crossing, self.seconds_here = Crossing(), 0.0
        begin = pb.Begin(
            request_id=uuid.uuid4().hex,
            site_id=site_id,
            max_new_tokens=self._most_new,
            temperature=wish.temperature,
            top_p=wish.top_p,
            seed=settings.seed if wish.seed is None else wish.seed,
            layers=lower.layers,
            model_fingerprint=lower.fingerprint,
            numbers=self._numbers,
        )
        self._send(pb.RunRequest(begin=begin))
        self._call = pb_grpc.SplitServiceStub(channel.grpc).Run(
            iter(self._requests.get, None), timeout=self._timeout_s, metadata=channel.metadata
        )

    def __enter__(self) -> "SplitAnswer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self._requests.put(None)
        self._call.cancel()

    def cancel(self) -> None:
        """Give the request up; iterating it then raises GenerationError (CANCELLED)."""
        self._call.cancel()

    def __iter__(self) -> Iterator[TextPiece | Reply]:
        try:
            yield from self._answer()
        except grpc.RpcError as error:
            raise self._channel.typed(error, timeout_s=self._timeout_s) from None

    def _answer(self) -> Iterator[TextPiece | Reply]:
        new, positions = 0, 0
        text = TextStream(self._lower.text, stop=self._wish.stop)
        for message in self._call:
            self.crossing.down += message.ByteSize()
            kind = message.WhichOneof("event")
            if kind == "started":
                positions = message.started.positions
                self._lower.begin()
                self._put(self._states(self._ids))
            elif kind == "token":
                new += 1
                if piece := text.push(message.token.id):
                    yield TextPiece(text=piece)
                if text.stopped:
                    yield self._reply(text.sent, pb.SplitFinished(completion_tokens=new))
                    return
                if new < self._most_new and len(self._ids) + new < positions:
                    self._put(self._states([message.token.id]))
            elif kind == "finished":
                if rest := text.finish():
                    yield TextPiece(text=rest)
                yield self._reply(text.sent, message.finished)
                return
        raise GenerationError("The cloud ended a split answer without an end.", status="DATA_LOSS")

    def _states(self, ids: Sequence[int]) -> States:
        started = perf_counter()
        found = self._lower.states(list(ids))
        self.seconds_here += perf_counter() - started
        return found

    def _put(self, states_Nh: States) -> None:
        """Send states, those of a long prompt in several messages."""
        packed = states_Nh.astype("<f2" if self._numbers == "float16" else "<f4")
        rows = max(1, LARGEST // packed[0].nbytes)
        pieces = [packed[at : at + rows] for at in range(0, len(packed), rows)]
        for place, piece in enumerate(pieces):
            data = np.ascontiguousarray(piece).tobytes()
            self.crossing.states += len(data)
            more = place < len(pieces) - 1
            self._send(pb.RunRequest(states=pb.States(data=data, more=more)))

    def _send(self, request: pb.RunRequest) -> None:
        self.crossing.up += request.ByteSize()
        self._requests.put(request)

    def _reply(self, text: str, end: pb.SplitFinished) -> Reply:
        return Reply(
            text=text,
            finish_reason=end.finish_reason or "stop",
            prompt_tokens=len(self._ids),
            completion_tokens=end.completion_tokens,
            queue_seconds=0.0,
            prefill_seconds=end.prefill_seconds,
            decode_seconds=end.decode_seconds,
            cpu_seconds=end.cpu_seconds,
            model_fingerprint=self._lower.fingerprint,
        )


def states_bytes(reply: Reply, *, width: int, numbers: str) -> int:
    """Bytes of hidden states of a whole request: tokens x width x bytes a number.

    Of an answer that was cut at its length the last token is not read any more.
    """
    read = reply.completion_tokens - (reply.finish_reason == "length")
    return (reply.prompt_tokens + read) * width * {"float32": 4, "float16": 2}[numbers]
