"""A request for an answer and the pieces the cloud streams back."""

from dataclasses import dataclass, field

BASE = "base"  # the release of a model without an adapter


@dataclass(frozen=True, kw_only=True)
class Turn:
    """An earlier message of a conversation."""

    role: str  # system | user | assistant
    content: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What leaves a site when somebody asks. `prompt` is the disclosed enriched prompt."""

    request_id: str
    site_id: str
    prompt: str = field(repr=False)  # repr ends up in logs
    history: tuple[Turn, ...] = field(default=(), repr=False)  # what was said before `prompt`
    plain: bool = False  # the model continues `prompt` as it is, in no format of questions
    max_new_tokens: int | None = 64  # None: as many as fit, at most service.max_new_tokens
    temperature: float = 0.0  # 0 decodes greedily
    top_p: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = field(default=(), repr=False)  # the answer ends before any of these
    # Token ids that the answer begins with: written before, by an engine that could not go on.
    written: tuple[int, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class TextPiece:
    """Some more text of the answer."""

    text: str
    # Tokens written since the last piece; () where nobody says. The text of all of them so far
    # begins with the pieces so far, and what is longer was held back (fl/text_stream.py).
    token_ids: tuple[int, ...] = field(default=(), repr=False, compare=False)


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The one terminal message of every stream. Times in seconds at the cloud."""

    text: str
    finish_reason: str  # stop | length | cancelled
    prompt_tokens: int  # 0 where a remote engine does not say
    completion_tokens: int  # the pieces, where a remote engine does not say
    queue_seconds: float  # 0 for a remote engine: its queue is part of prefill_seconds
    prefill_seconds: float
    decode_seconds: float
    model_fingerprint: str
    release: str = BASE  # the cloud adapter that answered, for instance "cloud/3"
    # Processor seconds of its steps, shared by those in the same step; 0 where nobody counts.
    cpu_seconds: float = 0.0
