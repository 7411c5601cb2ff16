"""The border of the edge service: who may call it, and what an error may say.

Every call carries the token of edge.json, health questions excepted. A GenerationError keeps its
status, other errors of ours keep their text, for it quotes no prompt; anything else becomes
INTERNAL with an opaque id.
"""

import hmac
import uuid
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import grpc

from clients.edge_service.model_owner import GivenUp
from fl.errors import GenerationError, NetGPTError

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_HEALTH = "/grpc.health.v1.Health/"


class Border(grpc.ServerInterceptor):  # type: ignore[type-arg]
    """The outermost interceptor."""

    def __init__(self, token: str, on_error: Callable[[str, BaseException], None]) -> None:
        """`on_error` is told the id and the error that a caller gets to know by its id alone."""
        self._expected = f"Bearer {token}".encode()
        self._on_error = on_error

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], "Handler | None"],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> "Handler | None":
        if handler_call_details.method.startswith(_HEALTH):
            return continuation(handler_call_details)
        if not self._may(handler_call_details):
            # of a stream, so that nothing the stranger sends is read
            return grpc.stream_unary_rpc_method_handler(_refuse)
        handler: Any = continuation(handler_call_details)
        if handler is None:
            return None  # unknown method
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._guarded_stream(handler.unary_stream),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._guarded(handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _may(self, details: grpc.HandlerCallDetails) -> bool:
        shown = [value for key, value in details.invocation_metadata if key == "authorization"]
        return len(shown) == 1 and hmac.compare_digest(str(shown[0]).encode(), self._expected)

    def _guarded(self, behavior: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(request: Any, context: grpc.ServicerContext) -> Any:
            try:
                return behavior(request, context)
            except Exception as error:  # noqa: BLE001 - the border of the service
                found = self._status(error)
            context.abort(*found)

        return guarded

    def _guarded_stream(self, behavior: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
        def guarded(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            try:
                yield from behavior(request, context)
                return
            except Exception as error:  # noqa: BLE001 - the border of the service
                found = self._status(error)
            context.abort(*found)

        return guarded

    def _status(self, error: Exception) -> tuple[grpc.StatusCode, str]:
        if isinstance(error, GenerationError):
            return getattr(grpc.StatusCode, error.status, grpc.StatusCode.INTERNAL), str(error)
        if isinstance(error, GivenUp):
            return grpc.StatusCode.UNAVAILABLE, str(error)
        if isinstance(error, NetGPTError):
            return grpc.StatusCode.FAILED_PRECONDITION, str(error)
        error_id = uuid.uuid4().hex[:12]
        self._on_error(error_id, error)
        return grpc.StatusCode.INTERNAL, f"The edge service failed; error {error_id}."


def _refuse(requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
    context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        "This edge service wants the token of its edge.json: authorization: Bearer TOKEN.",
    )
    raise AssertionError("abort raises")
