"""One accepted request on its way through the embedded engine, and its one terminal event."""

from dataclasses import dataclass, field
from time import perf_counter

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.text_stream import TextStream
from server.generation.batch import Row
from server.generation.engine import Deliver
from server.generation.loading import LanguageModel
from server.generation.sampling import Sampler


@dataclass(eq=False, kw_only=True, repr=False)  # no repr: a job holds a prompt
class Job:
    """One accepted request. Times are perf_counter seconds."""

    request: GenerationRequest
    model: LanguageModel  # the one that was in use when it came
    prompt_ids: list[int]
    most_new: int  # tokens
    deliver: Deliver
    text: TextStream
    sampler: Sampler
    submitted_at: float
    row: Row | None = field(default=None)  # while it runs
    taken_at: float = 0.0  # 0 while waiting
    first_at: float = 0.0  # 0 until the prompt was read
    completion_tokens: int = 0
    untold: str = ""  # text of tokens that were written before, told with the next piece
    unsaid_ids: list[int] = field(default_factory=list)  # written since the last piece
    cpu_seconds: float = 0.0  # of the steps it was in, its share
    cancelled: bool = False  # asked for; noticed at the next step
    ended: bool = False

    @property
    def reading(self) -> list[int]:
        """Token ids to read: the prompt, and what of the answer was written before."""
        return [*self.prompt_ids, *self.request.written]

    @property
    def need(self) -> int:
        """Tokens it may hold in the cache; the last one written is not read again."""
        return len(self.prompt_ids) + self.most_new - 1

    def advance(self, token_id: int) -> str | None:
        """Take the next token; the reason to end, or None to go on."""
        if token_id in self.model.end_ids:
            return "stop"
        self.completion_tokens += 1
        self.unsaid_ids.append(token_id)
        if piece := self.untold + self.text.push(token_id):
            self._tell(piece)
        return self._reason()

    def take_up(self) -> str | None:
        """Take the tokens that were written before; the reason to end, or None to go on."""
        for token_id in self.request.written:
            self.completion_tokens += 1
            self.unsaid_ids.append(token_id)
            self.untold += self.text.push(token_id)
            if (reason := self._reason()) is not None:
                return reason
        return None

    def end(self, how: str | GenerationError) -> None:
        """The one terminal event: what was held back and a reply with this reason, or an error."""
        self.ended = True
        if isinstance(how, GenerationError):
            self.deliver(how)
            return
        if rest := self.untold + self.text.finish():
            self._tell(rest)
        now = perf_counter()
        taken_at = self.taken_at or now
        first_at = self.first_at or now
        self.deliver(
            Reply(
                text=self.text.sent,
                finish_reason=how,
                prompt_tokens=len(self.prompt_ids),
                completion_tokens=self.completion_tokens,
                queue_seconds=taken_at - self.submitted_at,
                prefill_seconds=first_at - taken_at,
                decode_seconds=now - first_at,
                model_fingerprint=self.model.fingerprint,
                release=self.model.release,
                cpu_seconds=self.cpu_seconds,
            )
        )

    def _tell(self, text: str) -> None:
        self.untold = ""
        self.deliver(TextPiece(text=text, token_ids=tuple(self.unsaid_ids)))
        self.unsaid_ids.clear()

    def _reason(self) -> str | None:
        if self.text.stopped:
            return "stop"
        return "length" if self.completion_tokens == self.most_new else None
