"""The workflow's step `generate`: the way that was chosen, to its end.

edge hands over the draft. cloud and synergy send what the disclosure step gave, and split hidden
states of it. What is sent comes in as an argument; nothing else of the request is within reach of
what sends.
"""

import uuid
from collections.abc import Generator, Iterable
from dataclasses import replace
from time import perf_counter
from typing import TYPE_CHECKING

from clients.asking.ask import Answered, Leaving, request_of
from clients.asking.disclosure import NOTHING, Disclosed
from clients.asking.enrichment import Enriched, unenriched
from clients.workflow.deadline import Deadline
from clients.workflow.execution import Taken
from fl.errors import GenerationError
from fl.generation import BASE, Reply, TextPiece
from fl.text_stream import before_stop

if TYPE_CHECKING:  # torch is loaded only where a model runs
    from clients.asking.modes import Asked, OwnAnswer
    from clients.splitting.lower_layers import LowerLayers

Events = Generator[Leaving | TextPiece, None, Answered]


class Generating:
    """Of one request. `card` and `enriched` are what the asker is shown, and no more than that."""

    def __init__(self, asked: "Asked") -> None:
        self._asked = asked
        self.card = ""
        self.enriched: Enriched = unenriched(asked.short)
        self.own_seconds = 0.0  # for the draft, where there is one
        self.bare = False  # what is disclosed is the short prompt itself
        self.way = ""  # the mode that is on it, once that is known
        self.cloud_id = uuid.uuid4().hex  # its name at the cloud

    def answer(self, taken: Taken) -> Events:
        """By the way that `route` gave. Raises what the site's own part raises; what the cloud
        fails with is in Answered.
        """
        way = taken.slot("way")
        if way == "edge":
            return (yield from self.own(taken))
        if way == "split":
            return (yield from self._split(taken.slot("text"), taken.deadline))
        self.way = "cloud" if way == "synergy" and self.bare else way
        return (yield from self._sent(taken.slot("text"), taken.deadline))

    def own(self, taken: Taken) -> Events:
        """The edge model's answer as the others come: Leaving (nothing does), a piece, Answered.

        In place of a failed one there is no second Leaving, and its bytes stay counted.
        """
        asked, failed = self._asked, taken.failed
        own: OwnAnswer = taken.now("draft")
        self.way = "edge"
        if failed is None:
            yield self._leaving(NOTHING)
        text = before_stop(own.written.text, asked.wish.stop)
        stopped = text != own.written.text
        if text:
            yield TextPiece(text=text)
        most = own.limit or asked.wish.max_new_tokens or asked.settings.asking.answer_tokens
        tokens = len(own.written.nats)
        reply = Reply(
            text=text,
            finish_reason="length" if tokens >= most and not stopped else "stop",
            prompt_tokens=own.tokens,
            completion_tokens=tokens,
            queue_seconds=0.0,
            prefill_seconds=0.0,
            decode_seconds=own.seconds,
            model_fingerprint=asked.here.fingerprint,
            release=BASE,
        )
        answered = failed or self._answered(NOTHING)
        return replace(
            answered,
            answer=text,
            reply=reply,
            error=None,
            seconds=perf_counter() - asked.started,
            own_seconds=0.0,
            mode="edge",
        )

    def _sent(self, disclosed: Disclosed, deadline: Deadline) -> Events:
        """The cloud's LLaMA answers."""
        asked = self._asked
        if asked.answers and (reply := asked.answers.find(disclosed.text, asked.wish)):
            return (yield from self._kept(reply))
        left_s = deadline.left()  # whoever takes Leaving may have it as long as they like
        yield self._leaving(disclosed)
        request = request_of(
            disclosed, asked.settings, asked.site_id, asked.wish, request_id=self.cloud_id
        )
        ended = self._answered(disclosed)
        try:
            with asked.channel.generate(request, timeout_s=left_s) as generation:
                asked.when_left(generation.cancel)
                pieces, reply, failure = yield from _streamed(generation)
                ended = replace(
                    ended,
                    answer="".join(pieces),
                    reply=reply,
                    error=failure,
                    bytes_up=generation.bytes_up,
                    bytes_down=generation.bytes_down,
                )
        except GenerationError as error:  # it was never sent
            ended = replace(ended, error=error)
        if asked.answers and ended.reply and ended.reply.finish_reason in ("stop", "length"):
            asked.answers.keep(disclosed.text, asked.wish, ended.reply)
        return replace(ended, seconds=perf_counter() - asked.started)

    def _kept(self, reply: Reply) -> Events:
        """An answer that the site had kept: nothing leaves."""
        yield self._leaving(NOTHING)
        if reply.text:
            yield TextPiece(text=reply.text)
        return replace(
            self._answered(NOTHING),
            answer=reply.text,
            reply=replace(
                reply, queue_seconds=0.0, prefill_seconds=0.0, decode_seconds=0.0, cpu_seconds=0.0
            ),
            seconds=perf_counter() - self._asked.started,
            cached=True,
        )

    def _split(self, disclosed: Disclosed, deadline: Deadline) -> Events:
        """The LLaMA's first layers here: states of the disclosed text leave, no text."""
        asked, began = self._asked, perf_counter()
        self.way = "split"
        lower = asked.here.lower()
        with lower.turn.taken(wait_s=deadline.left(), when_left=asked.when_left):
            waited, left_s = perf_counter() - began, deadline.left()
            yield self._leaving(NOTHING)
            return (yield from self._in_turn(lower, disclosed.text, left_s, waited=waited))

    def _in_turn(
        self, lower: "LowerLayers", prompt: str, left_s: float, *, waited: float
    ) -> Events:
        from clients.splitting.split_answer import SplitAnswer

        asked = self._asked
        with SplitAnswer(
            lower,
            asked.channel,
            prompt,
            settings=asked.settings,
            site_id=asked.site_id,
            wish=asked.wish,
            timeout_s=left_s,
        ) as running:
            asked.when_left(running.cancel)
            pieces, reply, failure = yield from _streamed(running)
            return replace(
                self._answered(NOTHING),
                answer="".join(pieces),
                reply=reply,
                error=failure,
                bytes_up=running.crossing.up,
                bytes_down=running.crossing.down,
                seconds=perf_counter() - asked.started,
                states_bytes=running.crossing.states,
                layers_seconds=waited + running.seconds_here,
            )

    def _leaving(self, disclosed: Disclosed) -> Leaving:
        return Leaving(
            card=self.card,
            short=self._asked.short,
            enriched=self.enriched,
            disclosed=disclosed,
            mode=self.way,
        )

    def _answered(self, disclosed: Disclosed) -> Answered:
        """The end, before anything of it is known."""
        return Answered(
            card=self.card,
            short=self._asked.short,
            enriched=self.enriched,
            disclosed=disclosed,
            answer="",
            reply=None,
            error=None,
            bytes_up=0,
            bytes_down=0,
            seconds=0.0,
            own_seconds=self.own_seconds,
            mode=self.way,
        )


def _streamed(
    events: Iterable[TextPiece | Reply],
) -> Generator[TextPiece, None, tuple[list[str], Reply | None, GenerationError | None]]:
    """Pass on the pieces; return them, and the reply or why there is none."""
    pieces: list[str] = []
    reply: Reply | None = None
    try:
        for event in events:
            if isinstance(event, Reply):
                reply = event
            else:
                pieces.append(event.text)
                yield event
    except GenerationError as error:
        return pieces, reply, error
    return pieces, reply, None
