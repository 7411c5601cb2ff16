"""Messages that get lost: a restarted node, a node that is gone, a courier that died."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from flwr.app import Context, Error, Message, RecordDict
from flwr.common.constant import ErrorCode

from fl.flower_records import CONTRIBUTE, ROLL_CALL, SETTLE, SITE_FAILED
from server.federation.round_log import RoundLog, read_status
from tests.direct_grid import DirectGrid, Registration, registered_nodes
from tests.server.federation.conftest import Clock
from tests.server.federation.fake_sites import (
    PLACES,
    bytes_of,
    fake_client_app,
    fake_settings,
    grid,
    is_of,
    run,
)

LONG = "federation.deadline_s=600"


def deployed() -> DirectGrid:
    """One registered node a site; rome's is node 201."""
    contexts, registered = registered_nodes(PLACES)
    return DirectGrid(fake_client_app(), contexts, registered=registered)


def rome(flower: DirectGrid, do: Callable[[int, Message], Message | None]) -> list[Message]:
    """Let `do` answer rome's contributions, counted from 0; the requests are in the list."""
    requests: list[Message] = []

    def tamper(request: Message, reply: Message) -> Message | None:
        if not is_of_rome(request):
            return reply
        requests.append(request)
        return do(len(requests) - 1, reply)

    flower._tamper = tamper
    return requests


def is_of_rome(request: Message) -> bool:
    return request.metadata.message_type == CONTRIBUTE and is_of(request, CONTRIBUTE, ["rome"])


def died(request: Message, code: int = ErrorCode.NODE_UNAVAILABLE) -> Message:
    return Message(Error(code=code, reason="Flower says so"), reply_to=request)


def restart(flower: DirectGrid) -> None:
    """Rome's node was started again: it knows nothing of what it had got."""
    flower.registered[201] = replace(flower.registered[201], activated="2030-01-01T00:05:00+00:00")


def reasons(folder: Path) -> dict[str, str]:
    (report,) = RoundLog(folder).reports()
    return {o.site_id: o.reason for o in report.outcomes if not o.admitted}


def test_a_restarted_node_gets_its_message_again(tmp_path: Path, clock: Clock) -> None:
    flower = deployed()

    def do(times: int, reply: Message) -> Message | None:
        if times == 0:
            restart(flower)
            return None
        return reply

    requests = rome(flower, do)
    started = clock.now
    folder = run(fake_settings(tmp_path, "rounds=1", LONG), flower)
    assert reasons(folder) == {}
    assert len(requests) == 2
    assert clock.now - started < 10  # it was noticed at the next look, not at the deadline
    plain = fake_settings(tmp_path, "rounds=1", LONG, "name=plain")
    assert bytes_of(folder) == bytes_of(run(plain, deployed()))


def test_both_replies_of_a_repeated_message_count_once(tmp_path: Path) -> None:
    flower, late = deployed(), list[Message]()

    def do(times: int, reply: Message) -> Message | None:
        if times == 0:
            restart(flower)  # it lost its connection only: it is still at work
            late.append(reply)
            return None
        flower.deliver(late[0])
        return reply

    rome(flower, do)
    folder = run(fake_settings(tmp_path, "rounds=2", LONG), flower)
    for report in RoundLog(folder).reports():
        assert all(o.admitted for o in report.outcomes)
        assert report.late == ()


@pytest.mark.parametrize("code", [ErrorCode.UNKNOWN, ErrorCode.NODE_UNAVAILABLE])
def test_an_error_about_the_lost_message_does_not_fail_the_repeated_one(
    tmp_path: Path, code: int
) -> None:
    flower, first = deployed(), list[Message]()

    def do(times: int, reply: Message) -> Message | None:
        if times == 0:
            restart(flower)
            first.append(flower.sent[-1])
            return None
        flower.deliver(died(first[0], code))
        return reply

    rome(flower, do)
    assert reasons(run(fake_settings(tmp_path, "rounds=1", LONG), flower)) == {}


def test_a_site_that_moves_to_another_node_is_asked_there(tmp_path: Path) -> None:
    flower = deployed()

    def do(times: int, reply: Message) -> Message | None:
        if times > 0:
            return reply
        context = flower.contexts.pop(201)
        flower.contexts[999] = Context(
            run_id=1,
            node_id=999,
            node_config=context.node_config,
            state=RecordDict(),
            run_config={},
        )
        flower.registered[999] = replace(flower.registered.pop(201), activated="2030-01-02")
        return None

    requests = rome(flower, do)
    assert reasons(run(fake_settings(tmp_path, "rounds=1", LONG), flower)) == {}
    assert [r.metadata.dst_node_id for r in requests] == [201, 999]


@pytest.mark.parametrize(
    "code",
    [
        ErrorCode.NODE_UNAVAILABLE,
        ErrorCode.CLIENT_APP_CRASHED,
        ErrorCode.MESSAGE_UNAVAILABLE,
        ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ],
)
def test_what_died_is_asked_again_twice_and_no_more(tmp_path: Path, code: int) -> None:
    flower = deployed()
    requests = rome(flower, lambda times, reply: died(flower.sent[-1], code))
    (reason,) = reasons(run(fake_settings(tmp_path, "rounds=1", LONG), flower)).values()
    assert reason in (
        "its node is gone",
        "its courier died",
        "the message was lost",
        "its reply was lost",
    )
    assert len(requests) == 3


@pytest.mark.parametrize("code", [SITE_FAILED, ErrorCode.CLIENT_APP_RAISED_EXCEPTION])
def test_a_site_that_failed_by_itself_is_not_asked_again(tmp_path: Path, code: int) -> None:
    flower = deployed()
    requests = rome(flower, lambda times, reply: died(flower.sent[-1], code))
    assert list(reasons(run(fake_settings(tmp_path, "rounds=1", LONG), flower))) == ["rome"]
    assert len(requests) == 1


def test_a_node_that_is_gone_for_good_does_not_hold_the_round(tmp_path: Path, clock: Clock) -> None:
    flower = deployed()

    def do(times: int, reply: Message) -> Message:
        flower.contexts.pop(201)
        return died(flower.sent[-1])

    rome(flower, do)
    started = clock.now
    folder = run(fake_settings(tmp_path, "rounds=1", "federation.deadline_s=6000"), flower)
    assert reasons(folder) == {"rome": "its node is gone"}
    assert clock.now - started < 200


def test_a_node_that_comes_back_in_time_is_waited_for(tmp_path: Path, clock: Clock) -> None:
    flower = deployed()
    gone: list[Context] = []
    began: list[float] = []

    def do(times: int, reply: Message) -> Message:
        if times > 0:
            return reply
        gone.append(flower.contexts.pop(201))
        began.append(clock.now)
        return died(flower.sent[-1])

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if gone and clock.now - began[0] > 60:
            flower.contexts[201] = gone.pop()
            restart(flower)

    clock.sleep = sleep  # type: ignore[method-assign]
    rome(flower, do)
    assert reasons(run(fake_settings(tmp_path, "rounds=1", LONG), flower)) == {}


def test_a_message_that_cannot_be_delivered_is_no_end(tmp_path: Path) -> None:
    """The node left between the roll call and the plan."""
    flower = deployed()
    push = flower.push_messages

    def leaving(messages: list[Message]) -> list[str]:
        if any(is_of_rome(m) for m in messages if m.metadata.message_type == CONTRIBUTE):
            flower.contexts.pop(201, None)
        return list(push(messages))

    flower.push_messages = leaving  # type: ignore[method-assign, assignment]
    folder = run(fake_settings(tmp_path, "rounds=1", LONG), flower)
    assert reasons(folder) == {"rome": "the message was not delivered"}


# --- who is who -----------------------------------------------------------------------------------


def test_a_registered_name_is_who_a_node_is_and_nobody_is_asked(tmp_path: Path) -> None:
    flower = deployed()
    folder = run(fake_settings(tmp_path, "rounds=1"), flower)
    assert reasons(folder) == {}
    assert ROLL_CALL not in {m.metadata.message_type for m in flower.sent}


def test_a_name_that_is_no_site_hosts_nothing_and_claims_do_not_beat_names(tmp_path: Path) -> None:
    """Node 300 is registered as `stranger`, node 1 has no name; both say that they host rome."""
    flower = deployed()
    impostor = {"node_config": {"site": "rome"}, "state": RecordDict(), "run_config": {}}
    for node in (300, 1):
        flower.contexts[node] = Context(run_id=1, node_id=node, **impostor)  # type: ignore[arg-type]
    flower.registered[300] = Registration(name="stranger", activated="2030-02-01")
    folder = run(fake_settings(tmp_path, "rounds=1"), flower)
    assert reasons(folder) == {}
    asked = {m.metadata.dst_node_id for m in flower.sent if m.metadata.message_type != ROLL_CALL}
    assert asked == {200, 201, 202, 203}


def test_of_two_nodes_of_one_site_the_one_that_was_started_last_is_asked(tmp_path: Path) -> None:
    """The other one is dead, and Flower has not noticed yet."""
    flower = deployed()
    for node, activated in ((100, "2029-12-31"), (400, "2030-03-01")):
        flower.contexts[node] = flower.contexts[201]
        flower.registered[node] = Registration(name="rome", activated=activated)
    requests = rome(flower, lambda times, reply: reply)
    run(fake_settings(tmp_path, "rounds=1"), flower)
    assert [r.metadata.dst_node_id for r in requests] == [400]


def test_the_first_round_waits_for_sites_that_are_still_starting(
    tmp_path: Path, clock: Clock
) -> None:
    flower = grid()
    context, started = flower.contexts.pop(103), clock.now

    def sleep(seconds: float) -> None:
        clock.now += seconds
        if clock.now - started > 40:
            flower.contexts[103] = context

    clock.sleep = sleep  # type: ignore[method-assign]
    assert reasons(run(fake_settings(tmp_path, "rounds=1", LONG), flower)) == {}


def test_a_site_that_is_busy_at_the_end_still_gets_the_release(tmp_path: Path) -> None:
    flower = deployed()
    rome(flower, lambda times, reply: None)
    folder = run(fake_settings(tmp_path, "rounds=2", "federation.deadline_s=5"), flower)
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.message) == ("completed", "")
    settled = [m for m in flower.sent if m.metadata.message_type == SETTLE]
    assert len(settled) == len(PLACES)
