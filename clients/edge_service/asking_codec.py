"""What happens to a prompt, as messages between the edge service and who asks, and back."""

from dataclasses import dataclass

from clients.asking.ask import Answered, Leaving
from clients.asking.disclosure import Disclosed
from clients.asking.enrichment import Enriched
from fl.errors import GenerationError
from fl.generation import TextPiece
from fl.wire.netgpt.v1 import edge_pb2 as pb


def leaving_to_wire(
    leaving: Leaving, *, federation: str, release_number: int, seconds: float
) -> pb.AskResponse:
    """`seconds` from the short prompt to here."""
    return pb.AskResponse(
        enriched=pb.EnrichedPrompt(
            text=leaving.enriched.text,
            disclosed=leaving.disclosed.text,
            redactions=leaving.disclosed.redactions,
            release_number=release_number,
            federation=federation,
            fell_back=leaving.enriched.fell_back,
            new_tokens=leaving.enriched.new_tokens,
            seconds=seconds,
            card=leaving.card,
        )
    )


def piece_to_wire(piece: TextPiece) -> pb.AskResponse:
    """Some more of the answer."""
    return pb.AskResponse(piece=pb.AnswerPiece(text=piece.text))


def answered_to_wire(answered: Answered) -> pb.AskResponse:
    """The end: finished, or failed with the cloud's status."""
    if answered.reply is None:
        error = answered.error
        assert error is not None
        return pb.AskResponse(failed=pb.AnswerFailed(status=error.status, message=str(error)))
    return pb.AskResponse(
        finished=pb.AnswerFinished(
            finish_reason=answered.reply.finish_reason,
            prompt_tokens=answered.reply.prompt_tokens,
            completion_tokens=answered.reply.completion_tokens,
            bytes_up=answered.bytes_up,
            bytes_down=answered.bytes_down,
            seconds=answered.seconds,
            mode=answered.mode,
            states_bytes=answered.states_bytes,
        )
    )


@dataclass(frozen=True, kw_only=True)
class Ended:
    """The end of an answer as the edge service tells it."""

    bytes_up: int  # of messages between site and cloud
    bytes_down: int
    seconds: float  # from the short prompt to the end
    mode: str  # that answered: edge, cloud, split or synergy
    states_bytes: int  # of hidden states that left


def event_from_wire(message: pb.AskResponse, short: str) -> Leaving | TextPiece | Ended:
    """One event of a stream. Raises GenerationError where the cloud failed."""
    kind = message.WhichOneof("event")
    if kind == "enriched":
        told = message.enriched
        return Leaving(
            card=told.card,
            short=short,
            enriched=Enriched(
                text=told.text,
                new_tokens=told.new_tokens,
                seconds=told.seconds,
                fell_back=told.fell_back,
            ),
            disclosed=Disclosed(
                text=told.disclosed,
                characters=len(told.disclosed),
                redactions=dict(told.redactions),
            ),
        )
    if kind == "piece":
        return TextPiece(text=message.piece.text)
    if kind == "finished":
        end = message.finished
        return Ended(
            bytes_up=end.bytes_up,
            bytes_down=end.bytes_down,
            seconds=end.seconds,
            mode=end.mode,
            states_bytes=end.states_bytes,
        )
    raise GenerationError(message.failed.message, status=message.failed.status or "DATA_LOSS")
