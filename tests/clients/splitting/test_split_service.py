"""mode=split with the real cloud service: the whole model's answers, counted bytes, no text."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients.asking.ask import Wish
from clients.asking.cloud_channel import CloudChannel
from clients.splitting.lower_layers import LowerLayers
from clients.splitting.split_answer import SplitAnswer, states_bytes
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.link.profiles import profile
from fl.link.relay import Relay
from fl.settings import Settings, load
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud

PROMPT = "hello there, at the quay"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_cloud(tmp_path_factory.mktemp("cloud"))


@pytest.fixture(scope="module")
def address(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    var = tmp_path_factory.mktemp("var")
    with running_service(model, var, "split.requests=1") as (_, address):
        yield address


@pytest.fixture(scope="module")
def settings() -> Settings:
    return load()


def whole(channel: CloudChannel, *, most: int) -> Reply:
    request = GenerationRequest(request_id="r", site_id="oslo", prompt=PROMPT, max_new_tokens=most)
    with channel.generate(request) as generation:
        return next(event for event in generation if isinstance(event, Reply))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("numbers", ["float32", "float16"])
def test_the_answer_is_the_whole_models_and_the_bytes_are_the_formulas(
    model: Path, address: str, layers: int, numbers: str
) -> None:
    settings = load([f"split.numbers={numbers}"])
    lower = LowerLayers(model, layers)
    with Relay(address, profile("none")) as relay, CloudChannel(relay.address, 30) as channel:
        before = relay.crossed
        with SplitAnswer(
            lower, channel, PROMPT, settings=settings, site_id="oslo", wish=Wish(max_new_tokens=12)
        ) as answer:
            events = list(answer)
        crossed = relay.crossed.since(before)
        reply = events[-1]
        assert isinstance(reply, Reply)
        assert "".join(e.text for e in events if isinstance(e, TextPiece)) == reply.text
        expected = states_bytes(reply, width=lower.width, numbers=numbers)
        assert answer.crossing.states == expected
        assert expected < answer.crossing.up < crossed.up  # framing on top, twice
        assert 0 < answer.crossing.down < crossed.down
        if numbers == "float32":
            one = whole(channel, most=12)
            assert (reply.text, reply.finish_reason) == (one.text, one.finish_reason)
            assert reply.completion_tokens == one.completion_tokens
            assert reply.prompt_tokens == one.prompt_tokens


def test_a_stop_string_ends_it_here_and_the_place_is_free_again(
    model: Path, address: str, settings: Settings
) -> None:
    lower = LowerLayers(model, 1)
    with CloudChannel(address, 30) as channel:
        text = whole(channel, most=12).text
        stop = text[len(text) // 2 :][:2]
        for _ in range(3):  # one place only: it must be given back each time
            with SplitAnswer(
                lower,
                channel,
                PROMPT,
                settings=settings,
                site_id="oslo",
                wish=Wish(max_new_tokens=12, stop=(stop,)),
            ) as answer:
                reply = list(answer)[-1]
            assert isinstance(reply, Reply)
            assert reply.text == text[: text.index(stop)]


def test_another_models_layers_are_refused(
    address: str, settings: Settings, tmp_path: Path
) -> None:
    other = LowerLayers(make_tiny_cloud(tmp_path / "other", seed=9), 1)
    with (
        CloudChannel(address, 30) as channel,
        pytest.raises(GenerationError) as refused,
        SplitAnswer(other, channel, PROMPT, settings=settings, site_id="oslo") as answer,
    ):
        list(answer)
    assert refused.value.status == "FAILED_PRECONDITION"
