"""A cloud that writes down every byte it gets and answers as the test says, over real gRPC.

It stands in for the service where the test is about the site's side; the real service has its own
tests, and tests/walks puts both together.
"""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc

from fl.generation import Reply, TextPiece
from fl.wire.codec import event_to_wire, started_to_wire
from fl.wire.netgpt.v1 import generation_pb2 as pb

FINGERPRINT = "ab12"
Script = Callable[[pb.GenerateRequest, grpc.ServicerContext], Iterable[pb.GenerateResponse]]


@dataclass
class FakeCloud:
    address: str = ""
    received: list[bytes] = field(default_factory=list)  # every request as it came
    metadata: list[str] = field(default_factory=list)
    sent_bytes: int = 0


def answer(*pieces: str) -> list[pb.GenerateResponse]:
    """A whole stream that answers with these pieces."""
    reply = Reply(
        text="".join(pieces),
        finish_reason="stop",
        prompt_tokens=4,
        completion_tokens=len(pieces),
        queue_seconds=0.1,
        prefill_seconds=0.2,
        decode_seconds=0.3,
        model_fingerprint=FINGERPRINT,
    )
    texts = [event_to_wire(TextPiece(text=piece)) for piece in pieces]
    return [started_to_wire(FINGERPRINT, "base"), *texts, event_to_wire(reply)]


@contextmanager
def fake_cloud(script: Script, *, workers: int = 8) -> Iterator[FakeCloud]:
    """Listen on a free port for as long as the block runs."""
    cloud = FakeCloud()

    def generate(data: bytes, context: Any) -> Iterator[bytes]:
        cloud.received.append(data)
        cloud.metadata += [f"{key}={value}" for key, value in context.invocation_metadata()]
        for message in script(pb.GenerateRequest.FromString(data), context):
            cloud.sent_bytes += message.ByteSize()
            yield message.SerializeToString()

    handlers = {"Generate": grpc.unary_stream_rpc_method_handler(generate)}
    server = grpc.server(ThreadPoolExecutor(workers))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("netgpt.v1.GenerationService", handlers)]
    )
    cloud.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield cloud
    finally:
        server.stop(None).wait()
