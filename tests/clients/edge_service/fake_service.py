"""An edge service without a model, over real gRPC: it notes what it gets, and answers as told.

It stands in where the test is about the courier; the real one has its own tests.
"""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from clients.edge_service.edge_file import publish_edge_file
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc

TOKEN = "a token of the tests"
Parts = tuple[str, dict[str, bytes]]
Script = Callable[[pb.WorkRequest], Parts | str]  # an answer, or the name of a failure


@dataclass
class FakeEdgeService(pb_grpc.LearningServiceServicer):
    """An exception of the script breaks the call off, as if the process had died."""

    script: Script
    received: list[pb.WorkRequest] = field(default_factory=list)
    _timers: list[threading.Timer] = field(default_factory=list)

    def Work(self, request: pb.WorkRequest, context: grpc.ServicerContext) -> pb.WorkResponse:
        if ("authorization", f"Bearer {TOKEN}") not in context.invocation_metadata():
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong token")
        self.received.append(request)
        try:
            answer = self.script(request)
        except ConnectionError:
            context.abort(grpc.StatusCode.UNAVAILABLE, "broken off")
        if isinstance(answer, str):
            return pb.WorkResponse(failure=answer)
        return pb.WorkResponse(json=answer[0], arrays=answer[1])

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Do something later, on a thread."""
        timer = threading.Timer(seconds, action)
        self._timers.append(timer)
        timer.start()

    def end(self) -> None:
        for timer in self._timers:
            timer.join()


@contextmanager
def fake_edge_service(file: Path, script: Script) -> Iterator[FakeEdgeService]:
    """Serve for as long as the block runs, and say so in `file`."""
    service = FakeEdgeService(script)
    server = grpc.server(ThreadPoolExecutor(4))
    pb_grpc.add_LearningServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    publish_edge_file(file, f"127.0.0.1:{port}", TOKEN)
    try:
        yield service
    finally:
        service.end()
        server.stop(None).wait()
