"""Exceptions of the service become gRPC statuses here, and nowhere else.

A GenerationError keeps its status and its text. Anything else becomes INTERNAL with an opaque id;
the log then gets the id, the type and the frames, but no message, for that might quote a prompt.
"""

import asyncio
import logging
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from fl.errors import GenerationError

log = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

OURS = "/netgpt."  # where the names of our own methods begin
_MALFORMED = object()  # stands for a request whose bytes are no message


class StatusInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """The outermost interceptor: wraps every method of our own services."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OURS):
            return handler  # unknown, or health and reflection, which know no prompts
        assert handler.unary_stream is not None, "all methods of netgpt stream their answers"
        behavior: Any = handler.unary_stream  # an async generator; the types know sync ones only
        parse: Any = handler.request_deserializer
        return grpc.unary_stream_rpc_method_handler(
            _with_statuses(behavior),
            request_deserializer=_tolerant(parse),
            response_serializer=handler.response_serializer,
        )


def _tolerant(parse: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """gRPC would answer a parse error with UNKNOWN and the parser's text."""

    def parse_or_mark(data: bytes) -> Any:
        try:
            return parse(data)
        except DecodeError:
            return _MALFORMED

    return parse_or_mark


def _with_statuses(
    behavior: Callable[..., AsyncIterator[Any]],
) -> Callable[..., AsyncIterator[Any]]:
    async def guarded(
        request: Any, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        try:
            if request is _MALFORMED:
                raise GenerationError(
                    "The request is no valid protobuf message, or its text is not UTF-8.",
                    status="INVALID_ARGUMENT",
                )
            async for response in behavior(request, context):
                yield response
        except (asyncio.CancelledError, grpc.aio.AbortError):
            raise
        except GenerationError as error:
            await context.abort(_status(error.status), str(error))
        except Exception as error:  # noqa: BLE001 - the border of the service
            error_id = uuid.uuid4().hex[:12]
            frames = "".join(traceback.format_tb(error.__traceback__))
            log.error("error %s: %s\n%s", error_id, type(error).__name__, frames)
            await context.abort(grpc.StatusCode.INTERNAL, f"The cloud failed; error {error_id}.")

    return guarded


def _status(name: str) -> grpc.StatusCode:
    return getattr(grpc.StatusCode, name, grpc.StatusCode.INTERNAL)
