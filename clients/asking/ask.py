"""What asking is about: a wish, what is about to leave, an answer; and asking about many prompts.

One prompt's way is a workflow: modes.py begins it, steps.py and generating.py do its steps.
"""

import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from clients.asking.cloud_channel import CloudChannel
from clients.asking.disclosure import Disclosed, disclose
from clients.asking.enrichment import Enriched
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, Turn
from fl.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Wish:
    """How the cloud is to write; what is None is as the settings say."""

    max_new_tokens: int | None = None  # asking.answer_tokens
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None  # seed
    stop: tuple[str, ...] = field(default=(), repr=False)
    deadline_s: float | None = None  # orchestration.deadline_s; 0 = none


@dataclass(frozen=True, kw_only=True)
class Leaving:
    """What the site made of a short prompt, before anything leaves. Texts stay out of its repr."""

    card: str = field(repr=False)
    short: str = field(repr=False)
    enriched: Enriched
    disclosed: Disclosed
    mode: str = ""  # that is on it: edge, cloud, split or synergy; "" where nobody says


@dataclass(frozen=True, kw_only=True)
class Answered(Leaving):
    """All that became of a short prompt; `mode` is the one that answered."""

    answer: str = field(repr=False)  # what had arrived, where the cloud failed
    reply: Reply | None = field(repr=False)  # None where the cloud failed
    error: GenerationError | None  # why, then
    bytes_up: int  # of messages
    bytes_down: int
    seconds: float  # from the short prompt to the end
    states_bytes: int = 0  # of hidden states that left, where the model is split
    own_seconds: float = 0.0  # for an own answer that auto wrote and did not keep
    layers_seconds: float = 0.0  # for the layers that run here then: loaded, waited for, run
    cached: bool = False  # the site had kept the answer; the cloud was not asked

    @property
    def outcome(self) -> Reply | GenerationError:
        """The reply, or why there is none."""
        outcome = self.reply or self.error
        assert outcome is not None
        return outcome


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
    request_id: str = "",
) -> GenerationRequest:
    """What leaves the site. `history` must be disclosed already; "" draws a request id."""
    return GenerationRequest(
        request_id=request_id or uuid.uuid4().hex,
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
