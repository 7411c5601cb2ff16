"""A site that is slower than the deadline: not asked twice, and its late update noted or used."""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, Message
from flwr.proto.node_pb2 import NodeInfo

from fl.errors import FederationError
from fl.flower_records import CONTRIBUTE
from fl.rounds import RoundPlan
from server.federation.round_log import RoundLog
from tests.direct_grid import DirectGrid
from tests.server.federation.conftest import Clock
from tests.server.federation.fake_sites import (
    PLACES,
    asked,
    fake_delta,
    fake_settings,
    grid,
    is_of,
    releases_of,
    run,
)

DEADLINE = 60
SLOW = f"federation.deadline_s={DEADLINE}"


class SlowRome:
    """Rome answers its request of round 1 when the test says so; all else is as it should be."""

    def __init__(self, when: Callable[["SlowRome", Message], None]) -> None:
        self.flower: DirectGrid = grid(tamper=self._tamper)
        self.held: list[Message] = []
        self.plans: list[RoundPlan] = []  # that rome was sent
        self._when = when

    def hand_in(self) -> None:
        """Rome's late reply comes in now."""
        self.flower.deliver(self.held.pop())

    def _tamper(self, request: Message, reply: Message) -> Message | None:
        if request.metadata.message_type != CONTRIBUTE:
            return reply
        if is_of(request, CONTRIBUTE, ["rome"]):
            plan = asked(request)[1]
            self.plans.append(plan)
            if plan.round_number == 1 and len(self.plans) == 1:
                self.held.append(reply)
                return None
        if self.held:
            self._when(self, request)
        return reply


def in_round(number: int, *, at: str = "kyiv") -> Callable[[SlowRome, Message], None]:
    """Hand the late reply in when this site is asked in this round."""

    def when(rome: SlowRome, request: Message) -> None:
        site, plan = asked(request)
        if (site, plan.round_number) == (at, number):
            rome.hand_in()

    return when


def never(rome: SlowRome, request: Message) -> None:
    pass


def test_a_site_at_work_is_not_asked_and_its_late_update_is_noted(tmp_path: Path) -> None:
    rome = SlowRome(in_round(2))
    folder = run(fake_settings(tmp_path, "rounds=3", SLOW), rome.flower)

    first, second, third = RoundLog(folder).reports()
    assert first.outcomes[1].reason == "no reply within 60 s"
    assert second.outcomes[1].reason == "still at work on round 1"
    assert third.outcomes[1].admitted  # free again
    (late,) = second.late
    assert (late.site_id, late.round_number, late.used, late.weight) == ("rome", 1, False, 0.0)
    assert late.reason == ("it came after the deadline of round 1, and federation.late is record")
    assert (first.late, third.late) == ((), ())
    assert [plan.round_number for plan in rome.plans] == [1, 3]


def test_a_late_update_is_used_with_a_smaller_weight(tmp_path: Path) -> None:
    """One round late: n / sqrt(2) of its n = 20 records count, beside 10, 30 and 40."""
    settings = fake_settings(tmp_path, "rounds=2", SLOW, "federation.late=weighted")
    rome = SlowRome(in_round(2))
    folder = run(settings, rome.flower)

    releases, report = releases_of(settings, folder), RoundLog(folder).reports()[1]
    (late,) = report.late
    assert (late.site_id, late.round_number, late.used, late.reason) == ("rome", 1, True, "")
    assert late.weight == pytest.approx(20 / np.sqrt(2))
    assert [o.site_id for o in report.outcomes if o.admitted] == ["oslo", "bonn", "kyiv"]
    zero, one, two = (releases.load(n) for n in range(3))
    plans = {p.round_number: p for p in (asked(m)[1] for m in contributions(rome.flower))}
    weighted = [
        (20 / np.sqrt(2), fake_delta(plans[1], zero.shared, "rome")),  # a step from release 0
        (10, fake_delta(plans[2], one.shared, "oslo")),
        (30, fake_delta(plans[2], one.shared, "bonn")),
        (40, fake_delta(plans[2], one.shared, "kyiv")),
    ]
    for name, tensor in one.shared.tensors.items():
        mean = sum(w * d.tensors[name] for w, d in weighted) / sum(w for w, _ in weighted)
        np.testing.assert_allclose(two.shared.tensors[name], tensor + mean, atol=1e-6)


def contributions(flower: DirectGrid) -> list[Message]:
    return [m for m in flower.sent if m.metadata.message_type == CONTRIBUTE]


def test_it_never_counts_for_the_quorum(tmp_path: Path) -> None:
    """All four are needed in round 2; the late update of rome does not make the fourth."""

    def when(rome: SlowRome, request: Message) -> None:
        if asked(request)[1].round_number == 2:
            rome.hand_in()

    settings = fake_settings(tmp_path, "rounds=1", SLOW, "federation.late=weighted")
    rome = SlowRome(when)
    run(settings, rome.flower)
    stricter = fake_settings(
        tmp_path,
        *("rounds=2", SLOW, "federation.late=weighted", "federation.quorum=1"),
        "federation.attempts=1",
    )
    rome.flower.contexts.pop(101)  # rome's node: what it had done still comes in
    with pytest.raises(FederationError, match="3 of 4 sites were admitted, 4 are needed"):
        run(stricter, rome.flower)


def test_the_sites_own_update_of_a_round_counts_before_its_late_one(
    tmp_path: Path, clock: Clock
) -> None:
    def when(rome: SlowRome, request: Message) -> None:
        site, plan = asked(request)
        if (site, plan.round_number) == ("oslo", 2):
            clock.sleep(DEADLINE)  # rome has had another deadline by now: it is asked in round 3
        if (site, plan.round_number) == ("rome", 3):
            rome.hand_in()

    settings = fake_settings(tmp_path, "rounds=3", SLOW, "federation.late=weighted")
    rome = SlowRome(when)
    folder = run(settings, rome.flower)
    report = RoundLog(folder).reports()[2]
    assert report.outcomes[1].admitted
    (late,) = report.late
    assert (late.used, late.reason) == (False, "the site's own update of this round counts")
    assert [plan.round_number for plan in rome.plans] == [1, 3]


def test_a_late_update_from_a_release_that_was_kept_back_is_not_used(tmp_path: Path) -> None:
    """kyiv spoils release 1; rome is late with round 2, which began with release 1."""
    held: list[Message] = []

    def tamper(request: Message, reply: Message) -> Message | None:
        if request.metadata.message_type != CONTRIBUTE:
            return reply
        site, plan = asked(request)
        if (site, plan.round_number) == ("kyiv", 1):
            arrays = reply.content.array_records["adapter"]
            for name, array in arrays.items():
                arrays[name] = Array((-20 * array.numpy()).astype(np.float32))
        if (site, plan.release_number) == ("rome", 1):
            held.append(reply)
            return None
        if (site, plan.round_number) == ("oslo", 3):
            flower.deliver(held.pop())
        return reply

    flower = grid(tamper=tamper)
    settings = fake_settings(tmp_path, "rounds=3", SLOW, "federation.late=weighted")
    folder = run(settings, flower)
    reports = RoundLog(folder).reports()
    assert reports[1].attempt == 2
    assert reports[1].outcomes[1].reason == "still at work on round 2"
    (late,) = reports[2].late
    assert (late.used, late.reason) == (False, "based on release 1, which was kept back")


def test_a_late_update_is_admitted_like_any_other(tmp_path: Path) -> None:
    def when(rome: SlowRome, request: Message) -> None:
        if asked(request)[1].round_number == 2:
            arrays = rome.held[0].content.array_records["adapter"]
            name = next(iter(arrays))
            arrays[name] = Array(np.full(arrays[name].shape, np.nan, np.float32))
            rome.hand_in()

    settings = fake_settings(tmp_path, "rounds=2", SLOW, "federation.late=weighted")
    folder = run(settings, SlowRome(when).flower)
    (late,) = RoundLog(folder).reports()[1].late
    assert (late.used, late.reason) == (False, "it holds NaN or infinity")


def test_another_attempt_at_the_same_plan_waits_for_what_is_out(tmp_path: Path) -> None:
    """All four are needed. Rome needs longer than one deadline, and is asked only once."""
    rome = SlowRome(never)

    def tamper(request: Message, reply: Message) -> Message | None:
        if is_of(request, CONTRIBUTE, ["oslo"]) and rome.held:
            rome.hand_in()
        return SlowRome._tamper(rome, request, reply)

    rome.flower._tamper = tamper
    settings = fake_settings(tmp_path, "rounds=1", SLOW, "federation.quorum=1")
    folder = run(settings, rome.flower)
    (report,) = RoundLog(folder).reports()
    assert report.attempt == 2
    assert [o.site_id for o in report.outcomes if o.admitted] == list(PLACES)
    assert report.late == ()  # its round had not ended
    assert len(rome.plans) == 1


def test_a_site_that_never_answers_is_asked_again_after_another_deadline(
    tmp_path: Path, clock: Clock
) -> None:
    def when(rome: SlowRome, request: Message) -> None:
        if asked(request)[0] == "oslo":
            clock.sleep(25)  # that long a round takes

    rome = SlowRome(when)
    folder = run(fake_settings(tmp_path, "rounds=5", SLOW), rome.flower)
    said = [report.outcomes[1].reason for report in RoundLog(folder).reports()]
    waited = "still at work on round 1"
    assert said == ["no reply within 60 s", waited, waited, waited, ""]


def test_what_comes_in_between_two_rounds_is_noted_once_and_its_site_is_free(
    tmp_path: Path,
) -> None:
    rome = SlowRome(never)
    settings = fake_settings(tmp_path, "rounds=2", SLOW)
    rounds = settings.run_dir / "federations" / "001" / "rounds.jsonl"
    nodes = rome.flower.get_nodes

    def get_nodes() -> Iterable[NodeInfo]:
        if rome.held and rounds.is_file():
            rome.hand_in()
        return nodes()

    rome.flower.get_nodes = get_nodes  # type: ignore[method-assign]
    folder = run(settings, rome.flower)
    report = RoundLog(folder).reports()[1]
    assert [late.site_id for late in report.late] == ["rome"]
    assert all(outcome.admitted for outcome in report.outcomes)
