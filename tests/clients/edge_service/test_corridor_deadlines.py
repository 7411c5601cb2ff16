"""Requests with a deadline: where the cloud says they go, and what becomes of them there.

Model and cloud are those of test_corridor: they do as the test says.
"""

from math import nan
from pathlib import Path

import pytest

from clients.asking.ask import Answered, Wish
from fl.errors import GenerationError
from fl.generation import TextPiece
from fl.orchestration.admission import Verdict
from tests.clients.edge_service.test_corridor import REPLY, World
from tests.clients.edge_service.test_corridor_modes import OWN, one_entry, writing

SOON = Wish(deadline_s=2.0)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return writing(World(tmp_path, TextPiece(text="Yes."), REPLY))


def answered(world: World, mode: str, wish: Wish = SOON) -> Answered:
    *_, last = world.ask(mode, wish)
    assert isinstance(last, Answered)
    return last


def test_a_place_in_the_cloud_is_used_under_the_same_name_and_deadline(world: World) -> None:
    assert answered(world, "synergy").mode == "synergy"
    assert (world.places.deadlines, world.places.drafts) == ([2.0], [False])
    assert [one.mode for one in world.places.learned] == ["synergy"]
    assert world.places.given_back == 0
    assert [request.request_id for request in world.cloud.requests] == world.places.ids
    [timeout_s] = world.cloud.timeouts
    assert timeout_s is not None
    assert 0 < timeout_s < 2.0
    assert one_entry(world).mode == "synergy"


def test_a_request_sent_home_is_answered_there(world: World) -> None:
    world.places.says = Verdict(place="edge", short_of="link")
    assert (answered(world, "synergy").mode, world.cloud.requests) == ("edge", [])
    entry = one_entry(world)
    assert (entry.wanted, entry.mode, entry.private_characters) == ("synergy", "edge", 0)


def test_a_request_that_is_shed_says_what_is_short_and_sends_nothing(world: World) -> None:
    world.places.says = Verdict(place="shed", short_of="compute")
    with pytest.raises(GenerationError, match="too little compute") as shed:
        answered(world, "synergy")
    assert shed.value.status == "RESOURCE_EXHAUSTED"
    assert world.cloud.requests == []
    assert one_entry(world).outcome == "RESOURCE_EXHAUSTED"


def test_auto_gives_a_place_back_that_it_does_not_need(world: World) -> None:
    assert answered(world, "auto").mode == "edge"
    assert world.places.given_back == 1
    assert world.places.drafts == [True]  # it is ready for the cloud after its own answer


def test_auto_has_an_answer_whoever_is_shed(world: World) -> None:
    world.keeps = False
    world.places.says = Verdict(place="shed", short_of="link")
    assert answered(world, "auto").answer == OWN


@pytest.mark.parametrize("mode", ["edge", "cloud"])
def test_other_modes_and_requests_without_a_deadline_ask_for_no_place(
    world: World, mode: str
) -> None:
    answered(world, mode)
    answered(world, "synergy", Wish(deadline_s=0.0))
    answered(world, "synergy", Wish())
    assert world.places.deadlines == []


@pytest.mark.parametrize("seconds", [-1.0, nan])
def test_a_deadline_that_is_none_is_refused(world: World, seconds: float) -> None:
    with pytest.raises(GenerationError, match="number of seconds"):
        answered(world, "synergy", Wish(deadline_s=seconds))
