"""The border of the service: who calls is checked, exceptions become gRPC statuses; nowhere else.

A GenerationError keeps its status and its text. Anything else becomes INTERNAL with an opaque id;
the log then gets the id, the type and the frames, but no message, for that might quote a prompt.
"""

import asyncio
import logging
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError

from fl.errors import GenerationError
from fl.openai_api.api_keys import ApiKeys

log = logging.getLogger(__name__)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Refused: TypeAlias = Callable[[str], None]

OURS = "/netgpt."  # where the names of our own methods begin
# What only who may ask may do.
GUARDED = ("/netgpt.v1.GenerationService/", "/netgpt.v1.OrchestrationService/")
_NO_KEYS = ApiKeys({})
_MALFORMED = object()  # stands for a request whose bytes are no message


class StatusInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """The outermost interceptor: wraps every method of our own services."""

    def __init__(self, keys: ApiKeys, refused: Refused = lambda status: None) -> None:
        """`keys` are asked of who wants answers and shows no certificate; releases are public.

        `refused` is told the status of each request for an answer that ends here.
        """
        self._keys, self._refused = keys, refused

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(OURS):
            return handler  # unknown, or health and reflection, which know no prompts
        guarded = handler_call_details.method.startswith(GUARDED)
        parse: Any = handler.request_deserializer
        behavior: Any  # async; the types know sync ones only
        if (behavior := handler.unary_unary) is not None:
            return grpc.unary_unary_rpc_method_handler(
                _answering(behavior, self._keys if guarded else _NO_KEYS),
                request_deserializer=_tolerant(parse),
                response_serializer=handler.response_serializer,
            )
        behavior = handler.stream_stream
        if behavior is not None:
            return grpc.stream_stream_rpc_method_handler(
                _conversing(behavior, self._keys, self._refused),
                request_deserializer=_tolerant(parse),
                response_serializer=handler.response_serializer,
            )
        behavior = handler.unary_stream
        assert behavior is not None, "no method of netgpt takes a stream and gives one answer"
        return grpc.unary_stream_rpc_method_handler(
            _streaming(behavior, self._keys, self._refused)
            if guarded
            else _streaming(behavior, _NO_KEYS, lambda status: None),
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


def _answering(
    behavior: Callable[..., Awaitable[Any]], keys: ApiKeys
) -> Callable[..., Awaitable[Any]]:
    async def guarded(request: Any, context: Context) -> Any:
        async with _statuses(request, context, keys, lambda status: None, counted=False):
            return await behavior(request, context)

    return guarded


def _streaming(
    behavior: Callable[..., AsyncIterator[Any]], keys: ApiKeys, refused: Refused
) -> Callable[..., AsyncIterator[Any]]:
    async def guarded(request: Any, context: Context) -> AsyncIterator[Any]:
        async with _statuses(request, context, keys, refused):
            async for response in behavior(request, context):
                yield response

    return guarded


def _conversing(
    behavior: Callable[..., AsyncIterator[Any]], keys: ApiKeys, refused: Refused
) -> Callable[..., AsyncIterator[Any]]:
    """The first message of a stream says who calls; each one must be a message."""

    async def guarded(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        first: Any = await anext(requests, _MALFORMED)
        caller = first if first is _MALFORMED else first.begin
        async with _statuses(caller, context, keys, refused):
            async for response in behavior(_sound(first, requests), context):
                yield response

    return guarded


async def _sound(first: Any, rest: AsyncIterator[Any]) -> AsyncIterator[Any]:
    yield first
    async for request in rest:
        if request is _MALFORMED:
            raise _malformed()
        yield request


def _malformed() -> GenerationError:
    return GenerationError(
        "The request is no valid protobuf message, or its text is not UTF-8.",
        status="INVALID_ARGUMENT",
    )


@asynccontextmanager
async def _statuses(
    request: Any, context: Context, keys: ApiKeys, refused: Refused, *, counted: bool = True
) -> AsyncIterator[None]:
    """Check what every request of ours must hold; end the call with the status of an error."""
    try:
        _admit(request, context, keys, refused, counted)
        yield
    except (asyncio.CancelledError, grpc.aio.AbortError):
        raise
    except GenerationError as error:
        await context.abort(_status(error.status), str(error))
    except Exception as error:  # noqa: BLE001 - the border of the service
        error_id = uuid.uuid4().hex[:12]
        frames = "".join(traceback.format_tb(error.__traceback__))
        log.error("error %s: %s\n%s", error_id, type(error).__name__, frames)
        await context.abort(grpc.StatusCode.INTERNAL, f"The cloud failed; error {error_id}.")


def _admit(request: Any, context: Context, keys: ApiKeys, refused: Refused, counted: bool) -> None:
    try:
        if not _has_certificate(context.auth_context()):
            keys.check(_shown(context), counted=counted)
        if request is _MALFORMED:
            raise _malformed()
        check_caller(request.site_id, context.auth_context())
    except GenerationError as error:
        refused(error.status)
        raise


def check_caller(site_id: str, identity: Mapping[str, Iterable[bytes]]) -> None:
    """Refuse a caller whose certificate is another site's; raises GenerationError.

    `identity` is what the transport knows of the caller. On loopback it knows nothing, and nothing
    is asked for; from elsewhere there is no way in without a certificate (fl/wire/address.py).
    """
    if not _has_certificate(identity):
        return
    if list(identity.get("x509_common_name", ())) != [site_id.encode()]:
        raise GenerationError(
            "site_id is not the site that the caller's certificate was made for.",
            status="PERMISSION_DENIED",
        )


def _has_certificate(identity: Mapping[str, Iterable[bytes]]) -> bool:
    """Over TLS nobody comes in without one."""
    return b"ssl" in identity.get("transport_security_type", ())


def _shown(context: Context) -> str | None:
    metadata = context.invocation_metadata() or ()
    shown = [value for key, value in metadata if key == "authorization"]
    return str(shown[0]) if len(shown) == 1 else None


def _status(name: str) -> grpc.StatusCode:
    return getattr(grpc.StatusCode, name, grpc.StatusCode.INTERNAL)
