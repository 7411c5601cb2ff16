"""Asking end to end: a real edge model at the site, the real service in its own process."""

from pathlib import Path

import pytest

from clients.asking.ask import answer_many
from clients.asking.cloud_channel import CloudChannel, service_address
from clients.edge_model import edge_model
from fl.settings import Settings, load
from tests.clients.asking.corridor import ask
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud, make_tiny_edge

CARD = "place: Elmford; weather: rain"
SHORT = "food tonight"
SMALL = ["asking.enriched_tokens=6", "asking.answer_tokens=5", "service.max_prompt_tokens=200"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    edge = make_tiny_edge(tmp_path / "edge")
    return load(
        [
            f"edge.model={edge}",
            f"var={tmp_path}",
            "service.address=127.0.0.1:0",
            "service.http=none",
            *SMALL,
        ]
    )


def test_a_short_prompt_becomes_an_answer_and_many_do_too(
    settings: Settings, tmp_path: Path
) -> None:
    cloud = make_tiny_cloud(tmp_path / "cloud")
    with running_service(cloud, tmp_path, *SMALL) as (process, address):
        assert service_address(settings) == address
        with CloudChannel(address, settings.asking.timeout_s) as channel:
            channel.wait_ready(30)
            shown: list[str] = []
            answered = ask(
                SHORT,
                card=CARD,
                model=edge_model(settings),
                channel=channel,
                settings=settings,
                on_piece=shown.append,
            )
            assert answered.error is None
            assert answered.reply is not None
            assert answered.answer == "".join(shown) == answered.reply.text
            assert 1 <= answered.reply.completion_tokens <= 5
            assert answered.bytes_up >= len(answered.disclosed.text)

            prompts = [f"{SHORT} {number % 7}" for number in range(60)]
            answers = answer_many(channel, prompts, settings=settings, site_id="elmford")
            assert len(answers) == 60
            assert answers[:7] == answers[7:14] == answers[49:56]  # greedy, whatever the batch

            refused = ask(
                "\N{MUSICAL SYMBOL G CLEF}" * 200,
                card=CARD,
                model=SilentModel(),
                channel=channel,
                settings=settings,
            )
            assert refused.error is not None
            assert refused.error.status == "INVALID_ARGUMENT"

            # The cloud goes away: the enriched prompt is still there, with a typed error.
            process.terminate()
            assert process.wait(timeout=60) == 0
            alone = ask(
                SHORT,
                card=CARD,
                model=edge_model(settings),
                channel=channel,
                settings=settings,
            )
            assert alone.enriched.text == answered.enriched.text
            assert alone.error is not None
            assert alone.error.status == "UNAVAILABLE"


class SilentModel:
    """Writes nothing, so that the short prompt itself is asked."""

    def generate(
        self, prompts: object, *, max_new_tokens: int, between: object = None
    ) -> list[str]:
        return [""]

    def token_ids(self, text: str) -> list[int]:
        return []
