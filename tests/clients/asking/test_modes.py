"""Every mode through the real cloud service: what leaves, what answers, and auto's choice."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, sleep

import pytest

from clients.asking.ask import Answered, Leaving, Wish
from clients.asking.cloud_channel import CloudChannel
from clients.asking.enrichment import Enriched
from clients.asking.modes import Asked, Here, OwnAnswer, answer_by
from clients.splitting.lower_layers import LowerLayers
from clients.workflow.deadline import Deadline
from clients.workflow.workflow_file import workflow_of
from clients.writing import Written
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.settings import load
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud

SHORT, CARD = "a coffee, call +49 30 1234567", "place Elmford; cafe Amber Fox"
ENRICHED = "Order a coffee at the cafe Amber Fox"
OWN = Written(text="Your plan: the cafe Amber Fox.", nats=(0.1, 0.3))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cloud(tmp_path_factory.mktemp("cloud"))


@pytest.fixture(scope="module")
def channel(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CloudChannel]:
    with (
        running_service(model, tmp_path_factory.mktemp("var")) as (_, address),
        CloudChannel(address, 30) as channel,
    ):
        yield channel


@pytest.fixture
def asked(model: Path, channel: CloudChannel) -> Asked:
    here = Here(
        card=lambda: CARD,
        enrich=lambda card, short, deadline: Enriched(
            text=ENRICHED, new_tokens=8, seconds=0.1, fell_back=False
        ),
        answer=lambda enriched, deadline: OwnAnswer(written=OWN, tokens=12, seconds=0.2),
        lower=lambda: LowerLayers(model, 1),
        fingerprint="edge",
    )
    return Asked(
        short=SHORT,
        mode="synergy",
        workflow=workflow_of(load()),
        here=here,
        channel=channel,
        settings=load(),
        site_id="oslo",
        started=perf_counter(),
        wish=Wish(max_new_tokens=8),
    )


def played(asked: Asked, mode: str) -> tuple[Leaving, Answered]:
    leaving, *pieces, answered = answer_by(replace(asked, mode=mode))
    assert isinstance(leaving, Leaving)
    assert isinstance(answered, Answered)
    assert answered.error is None
    assert "".join(p.text for p in pieces if isinstance(p, TextPiece)) == answered.answer
    assert len(pieces) == sum(isinstance(p, TextPiece) for p in pieces)
    return leaving, answered


@dataclass
class Chooser:
    """Keeps answers whose least probable token is likelier than so many nats say."""

    most: float

    def look(self) -> None:
        pass

    def keeps(self, written: Written) -> bool:
        return max(written.nats) < self.most

    def learn(self, answered: Answered) -> None:
        pass


def how_it_ended(answered: Answered) -> str:
    assert answered.reply is not None
    return answered.reply.finish_reason


def cloud_says(asked: Asked, prompt: str) -> str:
    request = GenerationRequest(request_id="r", site_id="oslo", prompt=prompt, max_new_tokens=8)
    with asked.channel.generate(request) as generation:
        return next(event.text for event in generation if isinstance(event, Reply))


def test_edge_answers_alone_and_nothing_leaves(asked: Asked) -> None:
    leaving, answered = played(asked, "edge")
    assert (leaving.disclosed.text, answered.bytes_up, answered.states_bytes) == ("", 0, 0)
    assert (answered.mode, answered.answer) == ("edge", OWN.text)
    assert answered.reply is not None
    assert (answered.reply.completion_tokens, answered.reply.model_fingerprint) == (2, "edge")


def test_cloud_gets_the_short_prompt_after_disclosure(asked: Asked) -> None:
    leaving, answered = played(asked, "cloud")
    assert leaving.disclosed.text == "a coffee, call [phone]"
    assert CARD not in leaving.disclosed.text
    assert (answered.mode, answered.answer) == ("cloud", cloud_says(asked, leaving.disclosed.text))
    assert answered.bytes_up > 0


def test_synergy_sends_the_enriched_prompt(asked: Asked) -> None:
    leaving, answered = played(asked, "synergy")
    assert leaving.disclosed.text == ENRICHED
    assert (answered.mode, answered.answer) == ("synergy", cloud_says(asked, ENRICHED))


def test_split_sends_states_and_answers_as_the_cloud_would(asked: Asked) -> None:
    leaving, answered = played(asked, "split")
    assert (leaving.disclosed.text, leaving.disclosed.characters) == ("", 0)
    assert (answered.mode, answered.answer) == ("split", played(asked, "cloud")[1].answer)
    assert 0 < answered.states_bytes < answered.bytes_up


def test_auto_keeps_a_sure_answer_and_asks_about_an_unsure_one(asked: Asked) -> None:
    sure = replace(asked, router=lambda: Chooser(0.5))
    assert played(sure, "auto")[1].mode == "edge"

    def slowly(enriched: str, deadline: Deadline) -> OwnAnswer:
        sleep(0.05)
        return asked.here.answer(enriched, deadline)

    slow = replace(asked.here, answer=slowly)
    unsure = replace(asked, here=slow, router=lambda: Chooser(0.2))
    leaving, answered = played(unsure, "auto")
    assert (answered.mode, leaving.disclosed.text) == ("synergy", ENRICHED)
    assert answered.own_seconds >= 0.05  # the site's time, not the link's


def test_a_mode_that_does_not_exist_is_said(asked: Asked) -> None:
    with pytest.raises(GenerationError, match="edge, cloud, split, synergy, auto"):
        next(answer_by(replace(asked, mode="edgy")))


def test_a_split_that_the_cloud_refuses_ends_as_an_error(asked: Asked, tmp_path: Path) -> None:
    other = LowerLayers(make_tiny_cloud(tmp_path / "other", seed=5), 1)
    wrong = replace(asked, mode="split", here=replace(asked.here, lower=lambda: other))
    *_, answered = answer_by(wrong)
    assert isinstance(answered, Answered)
    assert answered.error is not None
    assert answered.error.status == "FAILED_PRECONDITION"


def test_an_own_answer_ends_before_a_stop_string_and_says_why_it_ended(asked: Asked) -> None:
    stop = replace(asked, wish=Wish(max_new_tokens=2, stop=("cafe",)))
    answered = played(stop, "edge")[1]
    assert answered.answer == OWN.text[: OWN.text.index("cafe")]
    assert how_it_ended(answered) == "stop"
    full = replace(asked, wish=Wish(max_new_tokens=2))
    assert how_it_ended(played(full, "edge")[1]) == "length"
    short = replace(OWN, nats=(0.1,) * 3)
    bounded = replace(
        asked.here, answer=lambda *_: OwnAnswer(written=short, tokens=1, seconds=0.1, limit=3)
    )
    assert how_it_ended(played(replace(asked, here=bounded), "edge")[1]) == "length"


def test_split_requests_take_turns_and_nobody_waits_for_ever(asked: Asked, model: Path) -> None:
    lower = LowerLayers(model, 1)
    asked = replace(asked, here=replace(asked.here, lower=lambda: lower))
    alone = played(asked, "split")[1]
    settings = load(["asking.timeout_s=0.1"])
    first = answer_by(replace(asked, mode="split"))
    assert isinstance(next(first), Leaving)
    second = replace(asked, mode="split", settings=settings)
    with pytest.raises(GenerationError) as refused:
        next(answer_by(second))
    assert refused.value.status == "RESOURCE_EXHAUSTED"

    def left_at_once(give_up: Callable[[], object]) -> None:
        give_up()

    with pytest.raises(CancelledError):
        next(answer_by(replace(asked, mode="split", when_left=left_at_once)))
    *_, answered = first  # as if nobody else had come
    assert isinstance(answered, Answered)
    assert answered.answer == alone.answer
    given_up = answer_by(replace(asked, mode="split"))
    next(given_up)
    given_up.close()
    assert played(asked, "split")[1].answer == alone.answer
