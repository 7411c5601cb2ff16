"""The ways a short prompt can be answered, behind one door.

edge      enrich and answer, both here (GPT-2); nothing leaves
cloud     the short prompt itself, disclosed, is what the cloud's LLaMA answers
split     the LLaMA's first layers run here on the short prompt; hidden states leave, no text
synergy   enrich here, disclose, answer there (NetGPT)
auto      as edge, unless the answer's score is too low for what the link would cost: synergy
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import TYPE_CHECKING

from clients.asking.ask import Answered, Leaving, Wish, disclose_and_answer
from clients.asking.cloud_channel import CloudChannel
from clients.asking.disclosure import Disclosed, disclose
from clients.asking.enrichment import Enriched
from clients.profiles.hidden import NOTHING_HIDDEN, Hidden
from fl.errors import GenerationError
from fl.generation import BASE, Reply, TextPiece
from fl.settings import Settings
from fl.text_stream import before_stop

if TYPE_CHECKING:  # torch is loaded only where a model runs
    from clients.splitting.lower_layers import LowerLayers
    from clients.splitting.split_answer import SplitAnswer
    from clients.writing import Written

MODES = ("edge", "cloud", "split", "synergy", "auto")
NOTHING = Disclosed(text="", characters=0, redactions={})

Event = Leaving | TextPiece | Answered


@dataclass(frozen=True, kw_only=True)
class OwnAnswer:
    """What the edge model answers by itself."""

    written: "Written"
    tokens: int  # of its prompt
    seconds: float
    limit: int | None = None  # tokens it was allowed, where not as many as wished for


@dataclass(frozen=True, kw_only=True)
class Here:
    """What a site can do by itself."""

    card: Callable[[], str]
    enrich: Callable[[str, str], Enriched]  # card, short
    answer: Callable[[str], OwnAnswer]  # to an enriched prompt
    lower: Callable[[], "LowerLayers"]  # loads them at the first split
    fingerprint: str  # of the edge model's base


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One request on its way. `keeps` decides for auto whether an own answer is good enough."""

    short: str = field(repr=False)
    mode: str
    here: Here
    channel: CloudChannel
    settings: Settings
    site_id: str
    started: float  # perf_counter() at the short prompt
    wish: Wish = field(default_factory=Wish)
    hidden: Callable[[], Hidden] = lambda: NOTHING_HIDDEN  # of who asks; taken before disclosure
    keeps: "Callable[[Written], bool]" = lambda written: True
    when_left: Callable[[Callable[[], object]], None] = lambda give_up: None


def answer_by(asked: Asked) -> Iterator[Event]:
    """Leaving, pieces of the answer, Answered; nothing leaves before Leaving has been taken.

    Raises GenerationError for a mode that does not exist, or where others have the split model for
    too long; CancelledError where the asker has left while it waited for that.
    """
    ways = {"edge": _edge, "cloud": _cloud, "split": _split, "synergy": _synergy, "auto": _auto}
    if asked.mode not in ways:
        raise GenerationError(
            f"mode is one of {', '.join(MODES)}; found {asked.mode!r}.", status="INVALID_ARGUMENT"
        )
    yield from ways[asked.mode](asked)


def _edge(asked: Asked) -> Iterator[Event]:
    card, enriched = _enriched(asked)
    yield from _own(asked, card, enriched, asked.here.answer(enriched.text))


def _cloud(asked: Asked) -> Iterator[Event]:
    bare = Enriched(text=asked.short, new_tokens=0, seconds=0.0, fell_back=False)
    yield from _sent(asked, "", bare, mode="cloud")


def _synergy(asked: Asked) -> Iterator[Event]:
    yield from _sent(asked, *_enriched(asked), mode="synergy")


def _auto(asked: Asked) -> Iterator[Event]:
    card, enriched = _enriched(asked)
    own = asked.here.answer(enriched.text)
    if asked.keeps(own.written):
        yield from _own(asked, card, enriched, own)
    else:
        yield from _sent(asked, card, enriched, mode="synergy")


def _split(asked: Asked) -> Iterator[Event]:
    began = perf_counter()
    lower = asked.here.lower()
    wait_s = asked.settings.asking.timeout_s
    with lower.turn.taken(wait_s=wait_s, when_left=asked.when_left):
        yield from _split_in_turn(asked, lower, waited=perf_counter() - began)


def _split_in_turn(asked: Asked, lower: "LowerLayers", *, waited: float) -> Iterator[Event]:
    from clients.splitting.split_answer import SplitAnswer

    bare = Enriched(text=asked.short, new_tokens=0, seconds=0.0, fell_back=False)
    leaving = Leaving(card="", short=asked.short, enriched=bare, disclosed=NOTHING)
    yield leaving
    # Its states leave; what the disclosure step would mask is not in them.
    prompt = disclose(asked.short, asked.settings.asking, hidden=asked.hidden()).text
    with SplitAnswer(
        lower,
        asked.channel,
        prompt,
        settings=asked.settings,
        site_id=asked.site_id,
        wish=asked.wish,
    ) as answer:
        asked.when_left(answer.cancel)
        yield from _split_events(asked, leaving, answer, waited=waited)


def _split_events(
    asked: Asked, leaving: Leaving, answer: "SplitAnswer", *, waited: float
) -> Iterator[Event]:
    pieces: list[str] = []
    reply: Reply | None = None
    failure: GenerationError | None = None
    try:
        for event in answer:
            if isinstance(event, Reply):
                reply = event
            else:
                pieces.append(event.text)
                yield event
    except GenerationError as error:
        failure = error
    yield Answered(
        card=leaving.card,
        short=leaving.short,
        enriched=leaving.enriched,
        disclosed=leaving.disclosed,
        answer="".join(pieces),
        reply=reply,
        error=failure,
        bytes_up=answer.crossing.up,
        bytes_down=answer.crossing.down,
        seconds=perf_counter() - asked.started,
        mode="split",
        states_bytes=answer.crossing.states,
        layers_seconds=waited + answer.seconds_here,
    )


def _enriched(asked: Asked) -> tuple[str, Enriched]:
    card = asked.here.card()
    return card, asked.here.enrich(card, asked.short)


def _own(asked: Asked, card: str, enriched: Enriched, own: OwnAnswer) -> Iterator[Event]:
    """The edge model's answer as the others come: Leaving (nothing does), a piece, Answered."""
    yield Leaving(card=card, short=asked.short, enriched=enriched, disclosed=NOTHING)
    text = before_stop(own.written.text, asked.wish.stop)
    stopped = text != own.written.text
    if text:
        yield TextPiece(text=text)
    most = own.limit or asked.wish.max_new_tokens or asked.settings.asking.answer_tokens
    tokens = len(own.written.nats)
    yield Answered(
        card=card,
        short=asked.short,
        enriched=enriched,
        disclosed=NOTHING,
        answer=text,
        reply=Reply(
            text=text,
            finish_reason="length" if tokens >= most and not stopped else "stop",
            prompt_tokens=own.tokens,
            completion_tokens=tokens,
            queue_seconds=0.0,
            prefill_seconds=0.0,
            decode_seconds=own.seconds,
            model_fingerprint=asked.here.fingerprint,
            release=BASE,
        ),
        error=None,
        bytes_up=0,
        bytes_down=0,
        seconds=perf_counter() - asked.started,
        mode="edge",
    )


def _sent(asked: Asked, card: str, enriched: Enriched, *, mode: str) -> Iterator[Event]:
    """The way through the disclosure step to the cloud's LLaMA."""
    for event in disclose_and_answer(
        asked.short,
        card=card,
        enriched=enriched,
        channel=asked.channel,
        settings=asked.settings,
        site_id=asked.site_id,
        started=asked.started,
        wish=asked.wish,
        hidden=asked.hidden(),
        on_sent=lambda generation: asked.when_left(generation.cancel),
    ):
        yield replace(event, mode=mode) if isinstance(event, Answered) else event
