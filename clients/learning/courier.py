"""A message's way to the site's edge service and back, over loopback gRPC. Imports no torch.

Flower starts a new process for every message. It carries the message to the process that holds the
model, and waits. An edge service that is away may be restarting: the same message is then carried
again, and the service knows what it has done already.
"""

import re
import time
from collections.abc import Mapping
from pathlib import Path

import grpc

from clients.edge_service.edge_file import CHANNEL_OPTIONS, EdgeFile, read_edge_file
from fl.errors import FederationError
from fl.wire.address import require_loopback
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc

AGAIN_AFTER_S = 0.5

# A service that was killed, is stopping or full, or left a file that now names somebody else.
_AWAY = {
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
}
_TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


class EdgeServiceAway(FederationError):
    """No edge service took the message in time."""


class WorkFailed(FederationError):
    """The site could not do it. `reason` is the name of an exception type."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"The site's work failed with {reason}; its failure.txt says where.")
        self.reason = reason


def carry(
    file: Path, kind: str, json: str, arrays: Mapping[str, bytes], *, run: str, patience_s: float
) -> tuple[str, dict[str, bytes]]:
    """Have the service of this edge.json work on a message; return the parts of its answer.

    Raises WorkFailed, or EdgeServiceAway after `patience_s` seconds.
    """
    request = pb.WorkRequest(kind=kind, json=json, arrays=arrays, run=run)
    until = time.monotonic() + patience_s
    while (left := until - time.monotonic()) > 0:
        service = read_edge_file(file)  # each time anew: another process has another token
        response = _call(service, request, timeout_s=left) if service is not None else None
        if response is not None:
            if response.failure:
                raise WorkFailed(_type_name(response.failure))
            return response.json, dict(response.arrays)
        time.sleep(min(AGAIN_AFTER_S, max(until - time.monotonic(), 0)))
    raise EdgeServiceAway(
        f"The edge service of {file} did not answer within {patience_s:g} s. Is it running?"
    )


def _call(
    service: EdgeFile, request: pb.WorkRequest, *, timeout_s: float
) -> pb.WorkResponse | None:
    """The service's answer; None while it is away. Raises WorkFailed for any other status."""
    require_loopback(service.address, setting="the address in edge.json")
    with grpc.insecure_channel(service.address, options=CHANNEL_OPTIONS) as channel:
        stub = pb_grpc.LearningServiceStub(channel)
        try:
            response: pb.WorkResponse = stub.Work(
                request, timeout=timeout_s, metadata=service.metadata
            )
            return response
        except grpc.RpcError as error:
            if error.code() in _AWAY or error.code() == grpc.StatusCode.DEADLINE_EXCEEDED:
                return None
            raise WorkFailed("RpcError") from None


def _type_name(reason: str) -> str:
    """What may leave the site: a bare type name, whatever the service says."""
    return reason if _TYPE_NAME.fullmatch(reason) else "Exception"
