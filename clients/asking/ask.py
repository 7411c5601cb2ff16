"""Asking, from the person's short prompt to the cloud's answer.

card + short prompt -> enrich (GPT-2, here) -> disclose -> generate (LLaMA, cloud) -> answer
"""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import perf_counter

from clients.asking.cloud_channel import CloudChannel, Generation
from clients.asking.disclosure import Disclosed, disclose
from clients.asking.enrichment import Completing, Enriched, enrich
from clients.profiles.hidden import NOTHING_HIDDEN, Hidden
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece, Turn
from fl.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How the cloud is to write; what is None is as the settings say."""

    max_new_tokens: int | None = None  # asking.answer_tokens
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None  # seed
    stop: tuple[str, ...] = field(default=(), repr=False)


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What the site made of a short prompt, before anything leaves. Texts stay out of its repr."""

    card: str = field(repr=False)
    short: str = field(repr=False)
    enriched: Enriched
    disclosed: Disclosed


@dataclass(frozen=True, kw_only=True)
class Answered(Leaving):
    """All that became of a short prompt."""

    answer: str = field(repr=False)  # what had arrived, where the cloud failed
    reply: Reply | None = field(repr=False)  # None where the cloud failed
    error: GenerationError | None  # why, then
    bytes_up: int  # of messages
    bytes_down: int
    seconds: float  # from the short prompt to the end
    mode: str = "synergy"  # which way it was answered: edge, cloud, split or synergy
    states_bytes: int = 0  # of hidden states that left, where the model is split
    layers_seconds: float = 0.0  # for the layers that run here then: loaded, waited for, run

    @property
    def outcome(self) -> Reply | GenerationError:
        """The reply, or why there is none."""
        outcome = self.reply or self.error
        assert outcome is not None
        return outcome


def ask(
    short: str,
    *,
    card: str,
    model: Completing,
    channel: CloudChannel,
    settings: Settings,
    site_id: str,
    on_disclosed: Callable[[Enriched, Disclosed], None] | None = None,
    on_piece: Callable[[str], None] | None = None,
) -> Answered:
    """Ask the cloud in the site's words; `on_piece` sees the answer's text as it streams.

    `on_disclosed` sees what is about to leave, before it does.

    A cloud that fails raises nothing: the enriched prompt comes back with a typed error.
    """
    started = perf_counter()

    # 1. Enrich at the site: card and short prompt never go further.
    enriched = enrich(model, card, short, settings.asking.enriched_tokens)

    # 2. Decide what may leave. 3. Let the cloud answer.
    for event in disclose_and_answer(
        short,
        card=card,
        enriched=enriched,
        channel=channel,
        settings=settings,
        site_id=site_id,
        started=started,
    ):
        if isinstance(event, Answered):
            return event
        if isinstance(event, TextPiece):
            if on_piece is not None:
                on_piece(event.text)
        elif on_disclosed is not None:
            on_disclosed(event.enriched, event.disclosed)
    raise AssertionError("the last event is Answered")


def disclose_and_answer(
    short: str,
    *,
    card: str,
    enriched: Enriched,
    channel: CloudChannel,
    settings: Settings,
    site_id: str,
    started: float,
    wish: Wish = Wish(),
    hidden: Hidden = NOTHING_HIDDEN,
    on_sent: Callable[[Generation], None] | None = None,
) -> Iterator[Leaving | TextPiece | Answered]:
    """The way of an enriched prompt: Leaving, pieces of the answer as they come, Answered.

    Nothing leaves before Leaving has been taken. `started` is perf_counter() at the short prompt;
    `hidden` is what of the person who asks must not leave; `on_sent` gets the running request,
    which another thread may cancel.
    """
    disclosed = disclose(enriched.text, settings.asking, hidden=hidden)
    leaving = Leaving(card=card, short=short, enriched=enriched, disclosed=disclosed)
    yield leaving

    pieces: list[str] = []
    reply: Reply | None = None
    failure: GenerationError | None = None
    bytes_up = bytes_down = 0
    try:
        with channel.generate(request_of(disclosed, settings, site_id, wish)) as generation:
            if on_sent is not None:
                on_sent(generation)
            bytes_up = generation.bytes_up
            for event in generation:
                bytes_down = generation.bytes_down
                if isinstance(event, Reply):
                    reply = event
                else:
                    pieces.append(event.text)
                    yield event
    except GenerationError as error:
        failure = error

    yield Answered(
        card=card,
        short=short,
        enriched=enriched,
        disclosed=disclosed,
        answer="".join(pieces),
        reply=reply,
        error=failure,
        bytes_up=bytes_up,
        bytes_down=bytes_down,
        seconds=perf_counter() - started,
    )


def answer_many(
    channel: CloudChannel,
    prompts: Sequence[str],
    *,
    settings: Settings,
    site_id: str,
    on_answer: Callable[[int], None] | None = None,
) -> list[str]:
    """Disclose many prompts and get their answers, in order; twice `engine.batch` at a time.

    `on_answer` sees how many are done. The first failure is raised, and what waits is dropped.
    """
    requests = [
        request_of(disclose(prompt, settings.asking), settings, site_id, Wish())
        for prompt in prompts
    ]
    # The cloud decodes one batch while the next one gathers.
    in_flight = max(1, min(settings.service.queue, 2 * settings.engine.batch))
    answers: list[str] = []
    pool = ThreadPoolExecutor(max_workers=in_flight, thread_name_prefix="ask")
    try:
        for answer in pool.map(lambda request: _answer(channel, request), requests):
            answers.append(answer)
            if on_answer is not None:
                on_answer(len(answers))
    finally:
        pool.shutdown(cancel_futures=True)
    return answers


def request_of(
    disclosed: Disclosed,
    settings: Settings,
    site_id: str,
    wish: Wish,
    *,
    history: Sequence[Turn] = (),
    plain: bool = False,
) -> GenerationRequest:
    """What leaves the site. `history` must be disclosed already."""
    return GenerationRequest(
        request_id=uuid.uuid4().hex,
        site_id=site_id,
        prompt=disclosed.text,
        history=tuple(history),
        plain=plain,
        max_new_tokens=wish.max_new_tokens or settings.asking.answer_tokens,
        temperature=wish.temperature,
        top_p=wish.top_p,
        seed=settings.seed if wish.seed is None else wish.seed,
        stop=wish.stop,
    )


def _answer(channel: CloudChannel, request: GenerationRequest) -> str:
    """The whole answer to one request."""
    with channel.generate(request) as generation:
        for event in generation:
            if isinstance(event, Reply):
                return event.text
    raise AssertionError("a stream without a reply raises before it ends")
