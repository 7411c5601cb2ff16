"""The gRPC endpoint of the edge service: loopback only, with the token, and with health."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from clients.edge_service.border import Border
from clients.edge_service.edge_file import LARGEST_MESSAGE
from clients.edge_service.model_owner import MOST_WAITING
from fl.errors import SettingsError
from fl.wire.address import join_address, require_loopback
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc

CALLS = 2 * MOST_WAITING  # at the same time, each holds a thread; one more is refused at once

_SETTING = "edge.address"
_SERVICES = [
    pb.DESCRIPTOR.services_by_name[name].full_name for name in ("LearningService", "AskingService")
]
_OPTIONS = [
    ("grpc.max_receive_message_length", LARGEST_MESSAGE),
    ("grpc.max_send_message_length", LARGEST_MESSAGE),
    ("grpc.so_reuseport", 0),  # else a second service would share the port, unnoticed
]


class Endpoint:
    """Bound where it is made, answers after `start`, refuses after `stop`."""

    def __init__(
        self, address: str, token: str, on_error: Callable[[str, BaseException], None]
    ) -> None:
        """Bind `address`. `on_error` is told of errors that callers know by an id alone.

        Raises SettingsError where the address is not of this machine or cannot be listened on.
        """
        host, port = require_loopback(address, setting=_SETTING)
        self._health = health.HealthServicer()
        self._server = grpc.server(
            ThreadPoolExecutor(CALLS, thread_name_prefix="edge"),
            interceptors=[Border(token, on_error)],
            options=_OPTIONS,
            maximum_concurrent_rpcs=CALLS,
        )
        try:
            bound = self._server.add_insecure_port(join_address(host, port))
        except RuntimeError:
            bound = 0
        if bound == 0:
            raise SettingsError(
                f"{_SETTING} {address!r} cannot be listened on: something else does already, "
                "or the port needs rights. Choose another port, or 0 for a free one."
            )
        self.address = join_address(host, bound)

    def start(
        self,
        learning: pb_grpc.LearningServiceServicer,
        asking: pb_grpc.AskingServiceServicer,
    ) -> None:
        """Answer calls from now on."""
        pb_grpc.add_LearningServiceServicer_to_server(learning, self._server)
        pb_grpc.add_AskingServiceServicer_to_server(asking, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        for name in (health.OVERALL_HEALTH, *_SERVICES):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._server.start()

    @contextmanager
    def stopping(self, seconds: float) -> Iterator[None]:
        """Refuse new calls at once; after the block wait for those that run, at most `seconds`."""
        self._health.enter_graceful_shutdown()
        stopped = self._server.stop(seconds)
        yield
        stopped.wait()
