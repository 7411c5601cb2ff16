"""A person's line to the edge service of a site on this machine. Imports no torch."""

from collections.abc import Iterator
from types import TracebackType

import grpc

from clients.asking.ask import Leaving
from clients.edge_service.asking_codec import Ended, event_from_wire
from clients.edge_service.edge_file import CHANNEL_OPTIONS, EdgeFile, edge_file, read_edge_file
from clients.workflow.workflow_file import workflow_of
from fl.errors import GenerationError, SettingsError
from fl.generation import TextPiece
from fl.settings import Settings
from fl.wire.address import require_loopback
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc

STATUS_S = 5.0  # for a living service to say what it does


class AskingClient:
    """Close it, or use with."""

    def __init__(self, service: EdgeFile, *, timeout_s: float) -> None:
        """`timeout_s` bounds one prompt. Raises SettingsError for an address elsewhere."""
        require_loopback(service.address, setting="the address in edge.json")
        self._service, self._timeout_s = service, timeout_s
        self._grpc = grpc.insecure_channel(service.address, options=CHANNEL_OPTIONS)
        self._stub = pb_grpc.AskingServiceStub(self._grpc)

    def ask(
        self, short: str, *, mode: str = "", person: str = "", deadline_s: float | None = None
    ) -> Iterator[Leaving | TextPiece | Ended]:
        """Ask; mode "" and no deadline are as the service's own settings have them, person "" is
        nobody.

        Raises GenerationError where site or cloud fail, after what came until then.
        """
        request = pb.AskRequest(short=short, mode=mode, person=person, deadline_s=deadline_s)
        call = self._stub.Ask(request, timeout=self._timeout_s, metadata=self._service.metadata)
        try:
            for message in call:
                yield event_from_wire(message, short)
        except grpc.RpcError as error:
            raise GenerationError(
                error.details() or "The edge service failed.", status=error.code().name
            ) from None
        finally:
            call.cancel()

    def status(self) -> pb.GetStatusResponse:
        """What the service does now. Raises grpc.RpcError."""
        status: pb.GetStatusResponse = self._stub.GetStatus(
            pb.GetStatusRequest(), timeout=STATUS_S, metadata=self._service.metadata
        )
        return status

    def close(self) -> None:
        """Close the connection."""
        self._grpc.close()

    def __enter__(self) -> "AskingClient":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        frames: TracebackType | None,
    ) -> None:
        self.close()


def service_status(settings: Settings, site_id: str) -> pb.GetStatusResponse | None:
    """What the site's edge service does now; None where none runs."""
    client = living_service(settings, site_id)
    if client is None:
        return None
    with client:
        try:
            return client.status()
        except grpc.RpcError:  # it has ended since
            return None


def living_service(settings: Settings, site_id: str) -> AskingClient | None:
    """A connection to the site's edge service; None where none runs. Raises WorkflowError."""
    service = read_edge_file(edge_file(settings, site_id))
    if service is None:
        return None
    longest_s = workflow_of(settings).longest_s(settings.asking.timeout_s)
    try:
        client = AskingClient(service, timeout_s=longest_s + STATUS_S)
    except SettingsError:
        return None
    try:
        if client.status().site_id == site_id:
            return client
    except grpc.RpcError:  # a service that was killed leaves its file
        pass
    client.close()
    return None
