"""The routes: the caller's key is checked, a body becomes a call, events become JSON or a stream.

    /v1/models /v1/models/ID /v1/chat/completions /v1/completions    need a key where there are keys
    /health /metrics                                                 /metrics too, beyond loopback
    what else a service has (resources.py)                           needs a key as well

Each call's events wait for its reader in a queue of their own, of at most as many entries as its
answer has tokens; so a slow reader holds nobody else up.
"""

import asyncio
import traceback
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from fl.errors import GenerationError
from fl.generation import Reply, TextPiece
from fl.openai_api.api_keys import ApiKeys
from fl.openai_api.backend import Answer, Backend, Extension, no_such_model
from fl.openai_api.calls import CHAT, TEXT, Call, call_from_body
from fl.openai_api.errors import ApiError, api_error
from fl.openai_api.replies import DONE, Replies, event, model_object, models_list
from fl.openai_api.resources import WITH_BODY, Resource, ResourceCall
from fl.service_metrics import CONTENT_TYPE, ServiceMetrics

Endpoint = Callable[[Request], Awaitable[Response]]
OnError = Callable[[str, str, str], None]  # id, type and frames of an unexpected error


class Gateway:
    """The application, and how many calls it is answering."""

    def __init__(
        self,
        backend: Backend,
        *,
        keys: ApiKeys,
        metrics: ServiceMetrics,
        largest_body: int,
        on_error: OnError,
        guard_metrics: bool = False,
        resources: Sequence[Resource] = (),
    ) -> None:
        """`largest_body` in bytes; `guard_metrics` asks for a key for /metrics too.

        `resources` are what this service has beside the models.

        `on_error` is told of errors that callers know by an id alone, without their message, which
        might quote a prompt.
        """
        self._backend, self._keys, self._metrics = backend, keys, metrics
        self._largest_body, self._on_error = largest_body, on_error
        self._guard_metrics = guard_metrics
        self.running = 0  # calls being answered
        self.ready = False  # else new calls are refused
        self.app = Starlette(
            routes=[
                Route("/v1/models", self._border(self._list_models)),
                Route("/v1/models/{name:path}", self._border(self._show_model)),
                Route("/v1/chat/completions", self._border(self._chat), methods=["POST"]),
                Route("/v1/completions", self._border(self._text), methods=["POST"]),
                Route("/health", self._border(self._health)),
                Route("/metrics", self._border(self._show_metrics)),
                *(self._route(resource) for resource in resources),
            ],
            exception_handlers={404: _no_route, 405: _no_route},
        )

    # --- endpoints ---

    async def _list_models(self, request: Request) -> Response:
        self._check_key(request)
        return JSONResponse(models_list([model_object(m) for m in self._backend.models()]))

    async def _show_model(self, request: Request) -> Response:
        self._check_key(request)
        models = self._backend.models()
        for model in models:
            if model.id == request.path_params["name"]:
                return JSONResponse(model_object(model))
        raise no_such_model("", models)

    async def _chat(self, request: Request) -> Response:
        return await self._complete(request, CHAT)

    async def _text(self, request: Request) -> Response:
        return await self._complete(request, TEXT)

    async def _health(self, request: Request) -> Response:
        status = "ok" if self.ready else "not serving"
        return JSONResponse({"status": status}, status_code=200 if self.ready else 503)

    async def _show_metrics(self, request: Request) -> Response:
        if self._guard_metrics:
            self._check_key(request)
        return Response(self._metrics.render(), media_type=CONTENT_TYPE)

    def _route(self, resource: Resource) -> Route:
        async def answered(request: Request) -> Response:
            self._check_key(request)
            call = ResourceCall(
                method=request.method,
                path=request.path_params,
                query=request.query_params,
                body=await self._body(request) if request.method in WITH_BODY else b"",
            )
            return JSONResponse(dict(await run_in_threadpool(resource.answer, call)))

        return Route(resource.path, self._border(answered), methods=list(resource.methods))

    async def _complete(self, request: Request, kind: str) -> Response:
        try:
            self._check_key(request)
            call = call_from_body(kind, await self._body(request))
            if not self.ready:
                raise GenerationError("This service is starting or stopping.", status="UNAVAILABLE")
        except ApiError as error:
            self._metrics.refused(error.reason)
            raise
        except GenerationError as error:
            self._metrics.refused(error.status)
            raise
        self.running += 1  # before it is accepted: a drain must not overlook it
        try:
            answer = await self._backend.open(call)
        except BaseException as error:
            self.running -= 1
            if isinstance(error, ApiError):  # a GenerationError is the engine's, which counts them
                self._metrics.refused(error.reason)
            raise
        return _Answering(self, call, answer)

    # --- what every call goes through ---

    def _check_key(self, request: Request) -> None:
        self._keys.check(request.headers.get("authorization"))

    async def _body(self, request: Request) -> bytes:
        """The body, read no further than it may be long."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":  # as any web page could send to a service on this machine
            raise ApiError("Content-Type must be application/json.", http_status=415)
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                if len(body) > self._largest_body:
                    raise ApiError(
                        f"The body has more than {self._largest_body} bytes.", http_status=413
                    )
        except ClientDisconnect:
            raise ApiError("The caller left.", http_status=499) from None
        return bytes(body)

    def _border(self, endpoint: Endpoint) -> Endpoint:
        async def guarded(request: Request) -> Response:
            try:
                return await endpoint(request)
            except Exception as error:  # noqa: BLE001 - the border of the service
                found = self.told(error)
            return JSONResponse(found.body(), found.http_status, headers=found.headers)

        return guarded

    def told(self, error: Exception) -> ApiError:
        """What the caller gets to know of an error."""
        if isinstance(error, ApiError):
            return error
        if isinstance(error, GenerationError):
            return api_error(error)
        error_id = uuid.uuid4().hex[:12]
        frames = "".join(traceback.format_tb(error.__traceback__))
        self._on_error(error_id, type(error).__name__, frames)
        return api_error(GenerationError(f"The service failed; error {error_id}."))


class _Answering(Response):
    """The answer to an accepted call, whole or as a stream; a caller who goes gives it up."""

    def __init__(self, gateway: Gateway, call: Call, answer: Answer) -> None:
        super().__init__()
        self._gateway, self._call, self._answer = gateway, call, answer
        self._extension: dict[str, object] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        leaving = asyncio.create_task(self._cancel_when_left(receive))
        try:
            if self._call.stream:
                await self._stream(send)
            else:
                await (await self._whole())(scope, receive, send)
        finally:
            leaving.cancel()
            self._answer.cancel()
            self._gateway.running -= 1

    async def _cancel_when_left(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._answer.cancel()

    async def _whole(self) -> Response:
        pieces: list[str] = []
        try:
            async for item in self._answer:
                if isinstance(item, TextPiece):
                    pieces.append(item.text)
                elif isinstance(item, Extension):
                    self._extension.update(item.fields)
                elif isinstance(item, Reply):
                    text = "".join(pieces)
                    return JSONResponse(Replies(self._call).whole(text, item, self._extension))
                else:
                    raise item
            raise RuntimeError("an answer without an end")
        except Exception as error:  # noqa: BLE001 - the border of the service
            told = self._gateway.told(error)
        return JSONResponse(told.body(self._extension), told.http_status, headers=told.headers)

    async def _stream(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        async for data in self._events():
            await send({"type": "http.response.body", "body": data, "more_body": True})
        await send({"type": "http.response.body", "body": DONE, "more_body": False})

    async def _events(self) -> AsyncIterator[bytes]:
        replies, begun, told = Replies(self._call), False, dict[str, object]()
        try:
            async for item in self._answer:
                if isinstance(item, GenerationError):
                    raise item
                if isinstance(item, Extension):
                    self._extension.update(item.fields)
                    if begun:
                        continue
                if not begun:
                    begun, told = True, dict(self._extension)
                    yield event(replies.begin(told))
                if isinstance(item, Extension):
                    continue  # told already: it need not wait for the first text
                if isinstance(item, TextPiece):
                    yield event(replies.piece(item.text))
                    continue
                more = self._extension if self._extension != told else {}
                yield event(replies.end(item, more))
                if self._call.include_usage:
                    yield event(replies.usage(item))
        except Exception as error:  # noqa: BLE001 - the border of the service
            if self._extension != told:  # OpenAI's clients read nothing that stands beside "error"
                yield event(replies.aside(self._extension))
            yield event(self._gateway.told(error).body(self._extension))


async def _no_route(request: Request, error: Exception) -> Response:
    status = int(getattr(error, "status_code", 404))
    found = ApiError("There is nothing here; see /v1/models.", http_status=status)
    return JSONResponse(found.body(), status)
