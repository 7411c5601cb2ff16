"""A site's words with a real cloud service."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from clients.asking.cloud_channel import CloudChannel
from clients.orchestration.cloud_desk import CloudDesk, OwnState, Question
from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply
from fl.link.speed import LinkSpeed
from fl.network.rules import Rule, Rules
from fl.network.state_file import FILE, NetworkState, network_folder, publish_state
from fl.settings import load
from tests.running_service import running_service
from tests.tiny_models import make_tiny_cloud

ELM = OwnState(
    site_id="elm",
    cell="valley",
    cores=2,
    memory_mb=4000,
    waiting=1,
    step_s=0.003,
    row_s=0.001,
    link=LinkSpeed(rtt_s=0.5, up_bytes_s=1e5, down_bytes_s=1e6),
    federation="001",
    release=4,
)
QUESTION = Question(
    request_id="one",
    site_id="elm",
    cell="valley",
    deadline_s=30.0,
    bytes_up=400,
    bytes_down=900,
    ready_s=0.1,
    own_s=math.inf,
)


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("var")


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory, var: Path) -> Iterator[CloudChannel]:
    model = make_tiny_cloud(tmp_path_factory.mktemp("cloud"))
    with running_service(model, var) as (_, address), CloudChannel(address, 30) as found:
        yield found


def test_a_place_is_promised_used_and_free_again(channel: CloudChannel) -> None:
    desk = CloudDesk(channel)
    desk.advertise(ELM)
    verdict = desk.admit(QUESTION)
    assert (verdict.place, verdict.worker, verdict.short_of) == ("cloud", "here", "")
    assert verdict.expected_s >= 0.1 + 0.5  # the site's own part and the way, at the least
    assert desk.show().workers[0].promised == 1
    request = GenerationRequest(
        request_id="one", site_id="elm", prompt="ab", max_new_tokens=4, temperature=0.0, seed=0
    )
    with channel.generate(request) as generation:
        assert any(isinstance(event, Reply) for event in generation)
    assert desk.show().workers[0].promised == 0


def test_what_cannot_be_in_time_is_sent_home_or_shed(channel: CloudChannel) -> None:
    desk = CloudDesk(channel)
    desk.advertise(ELM)
    short = replace(QUESTION, request_id="two", deadline_s=0.5)  # the way alone takes as long
    assert desk.admit(replace(short, own_s=0.2)).place == "edge"
    verdict = desk.admit(short)
    assert (verdict.place, verdict.short_of) == ("shed", "link")
    desk.release("elm", "nothing")  # of a place that never was


def test_everything_is_shown_as_names_and_figures(channel: CloudChannel) -> None:
    desk = CloudDesk(channel)
    desk.advertise(ELM)
    shown = desk.show()
    assert (shown.admission, shown.cloud_release) == ("joint", "base")
    (site,) = shown.sites
    assert (site.advert.site_id, site.advert.cell, site.advert.release_number) == (
        "elm",
        "valley",
        4,
    )
    assert shown.workers[0].step_s > 0
    desk.advertise(replace(ELM, link=None))  # a link that could not be measured
    assert not desk.show().sites[0].advert.HasField("link")


@pytest.mark.parametrize(
    "wrong",
    [
        {"deadline_s": 0.0, "own_s": 1.0},
        {"bytes_up": math.nan},
        {"ready_s": -1.0},
        {"request_id": "a canary with blanks"},
        {"request_id": ""},
        {"site_id": "elm/other"},
        {"deadline_s": 1e9},
        {"cell": "x" * 200},
    ],
    ids=json.dumps,
)
def test_what_makes_no_sense_is_refused(channel: CloudChannel, wrong: dict[str, object]) -> None:
    fields = {"deadline_s": 5.0} | wrong
    with pytest.raises(GenerationError) as refused:
        CloudDesk(channel).admit(replace(QUESTION, **fields))  # type: ignore[arg-type]
    assert refused.value.status in ("INVALID_ARGUMENT", "DEADLINE_EXCEEDED")


def test_a_cloud_tells_a_site_its_rules_and_answers_no_denied_one(
    channel: CloudChannel, var: Path
) -> None:
    folder = network_folder(load([f"var={var}"]))
    deny = Rule(kind="deny", site="elm", value=1.0, action="a1")
    share = Rule(kind="share", site="elm", value=0.5)  # the cloud's own affair
    publish_state(folder, NetworkState(now=Rules(rules=(deny, share))))
    request = GenerationRequest(
        request_id="two", site_id="elm", prompt="ab", max_new_tokens=4, temperature=0.0, seed=0
    )
    try:
        desk = CloudDesk(channel)
        assert desk.advertise(ELM) == Rules(rules=(replace(deny, action=""),))
        assert desk.advertise(replace(ELM, site_id="oak")) == Rules()
        with (
            pytest.raises(GenerationError, match="filter") as refused,
            channel.generate(request) as generation,
        ):
            list(generation)
        assert refused.value.status == "PERMISSION_DENIED"
        with channel.generate(replace(request, site_id="oak")) as generation:
            assert isinstance(list(generation)[-1], Reply)
    finally:
        (folder / FILE).unlink()
    assert desk.advertise(ELM) == Rules()
