"""A cloud without a model, over real gRPC: it answers all alike, and offers what it is told.

The real services have their own tests; here it counts that a release can be altered on its way.
"""

import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc

from fl.release import AdapterRelease
from fl.release_file import write_release
from fl.wire.netgpt.v1 import generation_pb2, generation_pb2_grpc, releases_pb2, releases_pb2_grpc
from tests.clients.asking.cloud_fake import answer

PIECES = ("Booked ", "at eight.")


@dataclass
class FakeCloud(
    releases_pb2_grpc.ReleaseServiceServicer, generation_pb2_grpc.GenerationServiceServicer
):
    """`offer` makes a release current; `alter` changes the bytes of a file on their way."""

    address: str = ""
    offered: AdapterRelease | None = None
    alter: Callable[[str, bytes], bytes] = lambda name, data: data
    fetched: list[str] = field(default_factory=list)  # federation/number
    looks: int = 0
    prompts: list[str] = field(default_factory=list)
    requests: list[generation_pb2.GenerateRequest] = field(default_factory=list)
    hold: Callable[[], object] = lambda: None  # called before an answer begins
    dies_after: int | None = None  # pieces of an answer; None for never
    ended: threading.Event = field(default_factory=threading.Event)  # an answer, or given up
    _all: dict[tuple[str, int], AdapterRelease] = field(default_factory=dict)

    def offer(self, release: AdapterRelease, **claimed: Any) -> None:
        """`claimed` replaces what it says about the release, not the release."""
        self._all[release.federation, release.number] = release
        self.offered = replace(release, **claimed)
        self._all.setdefault((self.offered.federation, self.offered.number), release)

    def GetRelease(
        self, request: releases_pb2.GetReleaseRequest, context: grpc.ServicerContext
    ) -> releases_pb2.GetReleaseResponse:
        self.looks += 1
        if self.offered is None or self.offered.task != request.task:
            context.abort(grpc.StatusCode.NOT_FOUND, "none yet")
        assert self.offered is not None
        return releases_pb2.GetReleaseResponse(
            federation=self.offered.federation,
            number=self.offered.number,
            manifest=self.offered.manifest,
            signature=self.offered.signature,
        )

    def FetchRelease(
        self, request: releases_pb2.FetchReleaseRequest, context: grpc.ServicerContext
    ) -> Iterator[releases_pb2.FetchReleaseResponse]:
        self.fetched.append(f"{request.federation}/{request.number}")
        with tempfile.TemporaryDirectory() as aside:
            folder = Path(aside) / "release"
            write_release(folder, self._all[request.federation, request.number])
            for file in sorted(folder.iterdir()):
                data = self.alter(file.name, file.read_bytes())
                yield releases_pb2.FetchReleaseResponse(file=file.name, data=data)

    def Generate(
        self, request: generation_pb2.GenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[generation_pb2.GenerateResponse]:
        self.prompts.append(request.prompt)
        self.requests.append(request)
        context.add_callback(self.ended.set)
        self.hold()
        messages = answer(*PIECES)
        if self.dies_after is None:
            yield from messages
            return
        yield from messages[: 1 + self.dies_after]  # the first says that it begins
        context.abort(grpc.StatusCode.UNAVAILABLE, f"died of {request.prompt}")


@contextmanager
def fake_cloud(address: str = "127.0.0.1:0") -> Iterator[FakeCloud]:
    """Serve for as long as the block runs."""
    cloud = FakeCloud()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    releases_pb2_grpc.add_ReleaseServiceServicer_to_server(cloud, server)
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(cloud, server)
    cloud.address = f"127.0.0.1:{server.add_insecure_port(address)}"
    server.start()
    try:
        yield cloud
    finally:
        server.stop(None).wait()
