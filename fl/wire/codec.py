"""Requests and answers to and from their protobuf messages, and what a request must look like.

The texts of the errors name fields and numbers, never the prompt.
"""

import math
from collections.abc import Iterable, Iterator

from fl.errors import GenerationError
from fl.generation import BASE, GenerationRequest, Reply, TextPiece, Turn
from fl.site import SITE_NAME
from fl.wire.netgpt.v1 import generation_pb2 as pb

LONGEST_REQUEST_ID = 128  # characters
MOST_STOPS, LONGEST_STOP = 8, 128  # characters
ROLES = ("system", "user", "assistant")
INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1

_REASON_TO_WIRE = {
    "stop": pb.FINISH_REASON_STOP,
    "length": pb.FINISH_REASON_LENGTH,
    "cancelled": pb.FINISH_REASON_CANCELLED,
}
_REASON_FROM_WIRE = {number: name for name, number in _REASON_TO_WIRE.items()}


def request_to_wire(request: GenerationRequest) -> pb.GenerateRequest:
    """The message of a request. Raises GenerationError (INVALID_ARGUMENT) on a bad field."""
    check_request(request)
    return pb.GenerateRequest(
        request_id=request.request_id,
        site_id=request.site_id,
        prompt=request.prompt,
        max_new_tokens=request.max_new_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        seed=request.seed,
        stop=request.stop,
        plain=request.plain,
        history=[pb.Turn(role=turn.role, content=turn.content) for turn in request.history],
        written=request.written,
    )


def request_from_wire(message: pb.GenerateRequest) -> GenerationRequest:
    """The request in a message. Raises GenerationError (INVALID_ARGUMENT) on a bad field."""
    request = GenerationRequest(
        request_id=message.request_id,
        site_id=message.site_id,
        prompt=message.prompt,
        max_new_tokens=message.max_new_tokens if message.HasField("max_new_tokens") else None,
        temperature=message.temperature,
        top_p=message.top_p if message.HasField("top_p") else 1.0,
        seed=message.seed,
        stop=tuple(message.stop),
        plain=message.plain,
        history=tuple(Turn(role=turn.role, content=turn.content) for turn in message.history),
        written=tuple(message.written),
    )
    check_request(request)
    return request


def check_request(request: GenerationRequest) -> None:
    """Refuse a request with bad fields, all of them named at once."""
    checks = [
        (
            1 <= len(request.request_id) <= LONGEST_REQUEST_ID and _is_text(request.request_id),
            f"request_id must have 1 to {LONGEST_REQUEST_ID} characters, "
            f"found {len(request.request_id)}",
        ),
        (
            SITE_NAME.fullmatch(request.site_id) is not None,
            "site_id must be 1 to 64 of a-z, 0-9, '_' and '-', not starting with a sign",
        ),
        (bool(request.prompt.strip()), "prompt must not be empty"),
        (_is_text(request.prompt), "prompt must be valid Unicode (it holds lone surrogates)"),
        (
            request.max_new_tokens is None or 1 <= request.max_new_tokens <= INT32_MAX,
            f"max_new_tokens must be at least 1, found {request.max_new_tokens}",
        ),
        (
            math.isfinite(request.temperature) and request.temperature >= 0,
            f"temperature must be finite and at least 0, found {request.temperature}",
        ),
        (
            0 < request.top_p <= 1,  # also refuses NaN
            f"top_p must be above 0 and at most 1, found {request.top_p}",
        ),
        (
            -INT64_MAX - 1 <= request.seed <= INT64_MAX,
            "seed must fit into a signed 64-bit integer",
        ),
        (
            len(request.stop) <= MOST_STOPS
            and all(1 <= len(s) <= LONGEST_STOP and _is_text(s) for s in request.stop),
            f"stop must be at most {MOST_STOPS} texts of 1 to {LONGEST_STOP} characters each",
        ),
        (
            all(turn.role in ROLES and _is_text(turn.content) for turn in request.history),
            f"history must be valid Unicode said by {', '.join(ROLES)}",
        ),
        (not (request.plain and request.history), "a plain prompt has no history"),
        (
            all(0 <= token_id <= INT32_MAX for token_id in request.written),
            "written must be token ids, 0 or more",
        ),
    ]
    problems = [text for holds, text in checks if not holds]
    if problems:
        raise GenerationError(
            "Bad generation request: " + "; ".join(problems) + ".", status="INVALID_ARGUMENT"
        )


def started_to_wire(model_fingerprint: str, release: str) -> pb.GenerateResponse:
    """The first message of a stream."""
    started = pb.Started(model_fingerprint=model_fingerprint, release=release)
    return pb.GenerateResponse(started=started)


def event_to_wire(event: TextPiece | Reply, *, tokens: bool = False) -> pb.GenerateResponse:
    """A later message of a stream; with `tokens` a piece says which it is the text of.

    The reply's text is left out: the pieces already carried it.
    """
    if isinstance(event, TextPiece):
        token_ids = event.token_ids if tokens else ()
        return pb.GenerateResponse(piece=pb.Piece(text=event.text, token_ids=token_ids))
    return pb.GenerateResponse(
        finished=pb.Finished(
            finish_reason=_REASON_TO_WIRE[event.finish_reason],
            prompt_tokens=event.prompt_tokens,
            completion_tokens=event.completion_tokens,
            queue_seconds=event.queue_seconds,
            prefill_seconds=event.prefill_seconds,
            decode_seconds=event.decode_seconds,
            cpu_seconds=event.cpu_seconds,
        )
    )


def events_from_wire(messages: Iterable[pb.GenerateResponse]) -> Iterator[TextPiece | Reply]:
    """Read a stream: its pieces, then one reply whose text is all pieces joined.

    Raises GenerationError (DATA_LOSS) where the stream is not started, pieces, one finished.
    """
    started = pb.Started()
    pieces: list[str] = []
    finished: pb.Finished | None = None
    for message in messages:
        kind = message.WhichOneof("event")
        if finished is not None:
            raise _broken_stream("a message after the end")
        if kind == "started" and not _begun(started) and _begun(message.started):
            started = message.started
        elif kind == "piece" and _begun(started):
            pieces.append(message.piece.text)
            yield TextPiece(text=message.piece.text, token_ids=tuple(message.piece.token_ids))
        elif kind == "finished" and _begun(started):
            finished = message.finished
        else:
            raise _broken_stream(f"{kind or 'an empty message'} out of order")
    if finished is None:
        raise _broken_stream("no end")
    yield _reply(finished, "".join(pieces), started)


def _begun(started: pb.Started) -> bool:
    return bool(started.model_fingerprint)


def _reply(finished: pb.Finished, text: str, started: pb.Started) -> Reply:
    reason = _REASON_FROM_WIRE.get(finished.finish_reason)
    if reason is None:
        raise _broken_stream(f"finish reason {finished.finish_reason}")
    return Reply(
        text=text,
        finish_reason=reason,
        prompt_tokens=finished.prompt_tokens,
        completion_tokens=finished.completion_tokens,
        queue_seconds=finished.queue_seconds,
        prefill_seconds=finished.prefill_seconds,
        decode_seconds=finished.decode_seconds,
        cpu_seconds=finished.cpu_seconds,
        model_fingerprint=started.model_fingerprint,
        release=started.release or BASE,
    )


def _broken_stream(found: str) -> GenerationError:
    return GenerationError(
        f"The cloud's answer is not started, pieces, finished: found {found}. "
        "Site and cloud probably run different versions.",
        status="DATA_LOSS",
    )


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
