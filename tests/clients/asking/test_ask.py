"""The corridor of a prompt, and the promise that private text stays at the site."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc
import pytest

from clients.asking.ask import answer_many
from clients.asking.cloud_channel import CloudChannel
from fl.errors import GenerationError
from fl.settings import Settings, load
from fl.wire.netgpt.v1 import generation_pb2 as pb
from tests.clients.asking.cloud_fake import answer, fake_cloud
from tests.clients.asking.corridor import ask

CARD = "place: Zebrawood; door code: quince; guest: Ottilie"
SHORT = "the usual for Ottilie please"
WRITTEN = "A table for two tonight, call 415-555-1234 or ottilie@home.example."
LEAVES = "A table for two tonight, call [phone] or [email]."
PRIVATE = ["Zebrawood", "quince", "Ottilie", "ottilie", "usual", "415-555", "555-1234"]
NOBODY = "127.0.0.1:1"


class WritingModel:
    """An edge model that writes a fixed enrichment, one with things that must not leave."""

    def __init__(self, text: str = WRITTEN) -> None:
        self._text = text

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        between: Callable[[], object] | None = None,
    ) -> list[str]:
        return [self._text for _ in prompts]

    def token_ids(self, text: str) -> list[int]:
        return list(range(len(text.split())))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load([f"var={tmp_path}", "engine.batch=4", "asking.answer_tokens=9", "seed=5"])


def test_the_whole_corridor(settings: Settings) -> None:
    shown: list[str] = []
    with (
        fake_cloud(lambda *_: answer("Booked ", "at eight.")) as cloud,
        CloudChannel(cloud.address, 30) as channel,
    ):
        answered = ask(
            SHORT,
            card=CARD,
            model=WritingModel(),
            channel=channel,
            settings=settings,
            on_piece=shown.append,
        )

    sent = pb.GenerateRequest.FromString(cloud.received[0])
    assert (sent.site_id, sent.prompt, sent.max_new_tokens, sent.temperature, sent.seed) == (
        "elmford",
        LEAVES,
        9,
        0,
        5,
    )
    assert (answered.card, answered.short) == (CARD, SHORT)
    assert (answered.enriched.text, answered.disclosed.text) == (WRITTEN, LEAVES)
    assert answered.answer == "Booked at eight."
    assert shown == ["Booked ", "at eight."]
    assert answered.reply is not None
    assert answered.reply.text == answered.answer
    assert answered.error is None
    assert (answered.bytes_up, answered.bytes_down) == (len(cloud.received[0]), cloud.sent_bytes)


def refusing(
    request: pb.GenerateRequest, context: grpc.ServicerContext
) -> Iterator[pb.GenerateResponse]:
    yield from answer("Book")[:2]
    context.abort(grpc.StatusCode.INTERNAL, f"a cloud that quotes: {request.prompt}")


def test_private_text_leaves_only_as_disclosed(
    settings: Settings, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    seen: list[str] = []
    for script in (lambda *_: answer("Booked."), refusing):
        with fake_cloud(script) as cloud, CloudChannel(cloud.address, 30) as channel:
            answered = ask(
                SHORT,
                card=CARD,
                model=WritingModel(),
                channel=channel,
                settings=settings,
            )
        seen += [data.decode("utf-8", errors="replace") for data in cloud.received]
        seen += [*cloud.metadata, repr(answered), f"{answered.error!r} {answered.error}"]

    assert LEAVES in seen[0]  # the canaries below would be found if they were there
    told = "\n".join([*seen, caplog.text, *capfd.readouterr()])
    assert [canary for canary in PRIVATE if canary in told] == []
    assert LEAVES not in caplog.text + f"{answered!r} {answered.error}"


def test_a_cloud_that_is_down_leaves_the_enriched_prompt_and_a_typed_error(
    settings: Settings,
) -> None:
    with CloudChannel(NOBODY, 30) as channel:
        answered = ask(
            SHORT,
            card=CARD,
            model=WritingModel(),
            channel=channel,
            settings=settings,
        )

    assert answered.enriched.text == WRITTEN
    assert (answered.answer, answered.reply) == ("", None)
    assert answered.error is not None
    assert answered.error.status == "UNAVAILABLE"
    assert not any(canary in str(answered.error) for canary in PRIVATE)


def test_what_had_arrived_before_a_failure_is_kept(settings: Settings) -> None:
    with fake_cloud(refusing) as cloud, CloudChannel(cloud.address, 30) as channel:
        answered = ask(
            SHORT,
            card=CARD,
            model=WritingModel(),
            channel=channel,
            settings=settings,
        )
    assert answered.answer == "Book"
    assert answered.error is not None
    assert answered.error.status == "INTERNAL"


@pytest.mark.parametrize("short", ["", "\x00\u200b", "x" * 100_000])
def test_odd_prompts_end_without_an_exception(settings: Settings, short: str) -> None:
    with (
        fake_cloud(lambda *_: answer("ok")) as cloud,
        CloudChannel(cloud.address, 30) as channel,
    ):
        answered = ask(
            short,
            card="",
            model=WritingModel(""),  # falls back to the short prompt
            channel=channel,
            settings=settings,
        )
    assert answered.enriched.fell_back
    if answered.disclosed.text:
        assert answered.answer == "ok"
        assert answered.disclosed.characters <= settings.asking.disclose_max_characters
    else:
        assert answered.error is not None
        assert answered.error.status == "INVALID_ARGUMENT"


def test_many_prompts_keep_their_order_and_a_bounded_number_runs(settings: Settings) -> None:
    lock, running, most = threading.Lock(), [0], [0]

    def echo(request: pb.GenerateRequest, _: grpc.ServicerContext) -> list[pb.GenerateResponse]:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        time.sleep(0.01)
        with lock:
            running[0] -= 1
        return answer(f"re: {request.prompt}")

    done: list[int] = []
    prompts = [f"prompt {i} for 415-555-1234" for i in range(40)]
    with fake_cloud(echo, workers=32) as cloud, CloudChannel(cloud.address, 30) as channel:
        answers = answer_many(
            channel, prompts, settings=settings, site_id="elmford", on_answer=done.append
        )

    assert answers == [f"re: prompt {i} for [phone]" for i in range(40)]
    assert done == list(range(1, 41))
    assert 2 <= most[0] <= 2 * settings.engine.batch
    ids = {pb.GenerateRequest.FromString(data).request_id for data in cloud.received}
    assert len(ids) == 40


def test_many_prompts_stop_at_the_first_failure(settings: Settings) -> None:
    with fake_cloud(refusing) as cloud, CloudChannel(cloud.address, 30) as channel:
        with pytest.raises(GenerationError) as failed:
            answer_many(channel, ["x"] * 200, settings=settings, site_id="elmford")
        assert failed.value.status == "INTERNAL"
        assert len(cloud.received) < 100
