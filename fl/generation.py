"""A request for an answer and the pieces the cloud streams back."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class GenerationRequest:
    """What leaves a site when somebody asks. `prompt` is the disclosed enriched prompt."""

    request_id: str
    site_id: str
    prompt: str = field(repr=False)  # repr ends up in logs
    max_new_tokens: int = 64
    temperature: float = 0.0  # 0 decodes greedily
    top_p: float = 1.0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TextPiece:
    """Some more text of the answer."""

    text: str


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The one terminal message of every stream. Times in seconds at the cloud."""

    text: str
    finish_reason: str  # stop | length | cancelled
    prompt_tokens: int
    completion_tokens: int
    queue_seconds: float
    prefill_seconds: float
    decode_seconds: float
    model_fingerprint: str
