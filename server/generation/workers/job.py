"""One accepted request on its way through the workers, and the answer as it grows.

A worker that goes away leaves an answer with a beginning that its reader has seen. Another one goes
on from the tokens of that beginning: it reads them beside the prompt and writes what follows, so
nothing is written twice, and no rounding of another batch can make it another beginning. Its stream
starts with the whole text again; here the part that was delivered is left out.

A worker that says no tokens (not an embedded engine of ours) answers from the start again. Where
that is another text, the beginning cannot be unsaid, and the request ends as broken off.
"""

from dataclasses import dataclass, field, replace
from time import perf_counter

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from server.generation.engine import Deliver
from server.generation.workers.worker import Call, WorkerLost


@dataclass(eq=False, kw_only=True, repr=False)  # no repr: a job holds a prompt
class WorkerJob:
    """One accepted request. Times are perf_counter seconds."""

    request: GenerationRequest
    most_new: int  # tokens
    deliver: Deliver
    submitted_at: float
    sent: str = ""  # the text that was delivered
    token_ids: tuple[int, ...] = ()  # its tokens, where they are said, and maybe one held back
    call: Call | None = None  # while a worker has it
    cancelled: bool = False  # asked for
    deaths: int = 0  # of workers that had begun with it
    busy: set[str] = field(default_factory=set)  # workers that had no room for it

    @property
    def begun(self) -> bool:
        """Whether there is some text of the answer."""
        return bool(self.sent)

    @property
    def tokens_written(self) -> int:
        """As many as are known."""
        return len(self.token_ids)

    @property
    def tokens_left(self) -> int:
        """Still to be written, at the most."""
        return max(self.most_new - len(self.token_ids), 0)

    @property
    def what_is_left(self) -> GenerationRequest:
        """The request as the next worker gets it."""
        return replace(self.request, written=self.token_ids) if self.token_ids else self.request

    def cancel(self) -> None:
        """Give it up. From any thread; whoever sets `call` looks at `cancelled` after that."""
        self.cancelled = True
        if (call := self.call) is not None:
            call.cancel()

    def answer(self, call: Call) -> Reply:
        """Deliver what a worker writes and was not delivered yet; return its reply.

        Raises WorkerLost, or the worker's GenerationError.
        """
        repeated = self.sent  # what of it the worker has still to say again
        said: tuple[int, ...] = ()
        for event in call:
            if isinstance(event, Reply):
                if event.finish_reason == "cancelled" and not self.cancelled:
                    raise WorkerLost  # it is shutting down
                return self._whole(event)
            said += event.token_ids
            known, new = event.text[: len(repeated)], event.text[len(repeated) :]
            if not repeated.startswith(known):
                raise _broken_off()
            repeated = repeated[len(known) :]
            if len(said) > len(self.token_ids):
                self.token_ids = said
            if new:
                self.sent += new
                self.deliver(TextPiece(text=new))
        raise WorkerLost

    def given_up(self, fingerprint: str) -> Reply:
        """The reply of who gave up, or was made to."""
        return Reply(
            text=self.sent,
            finish_reason="cancelled",
            prompt_tokens=0,
            completion_tokens=len(self.token_ids),
            queue_seconds=perf_counter() - self.submitted_at,
            prefill_seconds=0.0,
            decode_seconds=0.0,
            model_fingerprint=fingerprint,
        )

    def _whole(self, reply: Reply) -> Reply:
        """What the last worker did not spend reading and writing counts as waiting."""
        spent = perf_counter() - self.submitted_at
        waited = max(spent - reply.prefill_seconds - reply.decode_seconds, 0.0)
        return replace(reply, text=self.sent, queue_seconds=waited)


def _broken_off() -> GenerationError:
    return GenerationError(
        "The answer broke off: its worker died, and another one writes another text. Ask again.",
        status="UNAVAILABLE",
    )
