"""The gate: only what makes no site worse becomes current, and everything else is kept and said."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Error, Message

from fl.adapter import digest
from fl.flower_records import CONTRIBUTE, JUDGE, SITE_FAILED
from fl.release import Judgement
from server.federation.gate import Gate, weigh
from server.federation.round_log import RoundLog, RunStatus, read_status
from server.federation.verdicts import Verdicts, read_verdicts
from tests.direct_grid import DirectGrid, simulated_nodes
from tests.server.federation.fake_sites import (
    PLACES,
    FakeSites,
    asked,
    fake_settings,
    is_of,
    releases_of,
    run,
)


def judged(loss: float, current_loss: float) -> Judgement:
    return Judgement(release_number=2, loss=loss, current_number=1, current_loss=current_loss)


def test_the_worst_site_decides_and_not_the_mean() -> None:
    """rome gains 1.0, oslo loses 0.11: a good mean, and above the tolerance of 0.1."""
    verdict = weigh(2, 1, {"rome": judged(2.0, 3.0), "oslo": judged(1.61, 1.5)}, tolerance=0.1)
    assert verdict is not None
    assert (verdict.passed, verdict.sites, verdict.worst_site) == (False, 2, "oslo")
    assert verdict.worst_rise == pytest.approx(0.11)
    assert verdict.reason == "release 2 kept back: oslo lost 0.11 nats/token against release 1"


@pytest.mark.parametrize(
    ("loss", "said"),
    [
        (1.625, "release 2 is current: oslo lost 0.125 nats/token against release 1"),
        (1.5, "release 2 is current: oslo gained least, 0 nats/token against release 1"),
        (1.25, "release 2 is current: oslo gained least, 0.25 nats/token against release 1"),
    ],
)
def test_a_loss_up_to_the_tolerance_passes(loss: float, said: str) -> None:
    verdict = weigh(2, 1, {"oslo": judged(loss, 1.5), "rome": judged(1.0, 2.0)}, tolerance=0.125)
    assert verdict is not None
    assert verdict.passed
    assert verdict.reason == said


def test_the_order_of_answers_does_not_matter_and_none_is_no_verdict() -> None:
    equal = {"rome": judged(2.5, 2.0), "oslo": judged(1.5, 1.0)}
    one, other = (
        weigh(2, 1, dict(order), tolerance=0) for order in (equal.items(), reversed(equal.items()))
    )
    assert one == other
    assert one is not None
    assert one.worst_site == "oslo"
    assert weigh(2, 1, {}, tolerance=9) is None


# --- through the whole loop -----------------------------------------------------------------------


def poisoned(rounds: set[int]) -> Callable[[Message, Message], Message]:
    """kyiv, which has most records, goes far into the wrong direction; it is admitted."""

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, CONTRIBUTE, ["kyiv"]) and asked(request)[1].round_number in rounds:
            arrays = reply.content.array_records["adapter"]
            for name, array in arrays.items():
                arrays[name] = Array((-20 * array.numpy()).astype(np.float32))
        return reply

    return tamper


def federation(
    tamper: Callable[[Message, Message], Message | None],
) -> tuple[FakeSites, DirectGrid]:
    sites = FakeSites()
    return sites, DirectGrid(sites.app, simulated_nodes(4, {}), tamper=tamper)


def status_in(folder: Path) -> RunStatus:
    status = read_status(folder)
    assert status is not None
    return status


def test_a_poisoned_candidate_is_kept_back_and_the_round_starts_from_current(
    tmp_path: Path,
) -> None:
    settings = fake_settings(tmp_path, "rounds=3")
    sites, flower = federation(poisoned({1}))

    folder = run(settings, flower)

    releases, reports = releases_of(settings, folder), RoundLog(folder).reports()
    assert [(r.round_number, r.release_number, r.attempt) for r in reports] == [
        *((1, 1, 1), (2, 2, 2), (3, 3, 1)),
    ]
    assert all(o.admitted for o in reports[0].outcomes)  # nobody could tell from the update alone
    assert releases.numbers() == [0, 1, 2, 3]  # the poisoned one is kept
    assert releases.load(2).parent_digest == digest(releases.load(0).shared)
    assert releases.current().number == 3
    first, second, third = read_verdicts(folder / "verdicts.jsonl")
    assert (first.release_number, first.passed, first.sites) == (1, False, 4)
    assert (second.release_number, second.current_number, second.passed) == (2, 0, True)
    assert (third.release_number, third.current_number, third.passed) == (3, 2, True)
    assert reports[1].verdict == first
    assert reports[2].verdict == second
    status = status_in(folder)
    assert status.state == "completed"
    assert status.message == f"Kept, but not in use: {first.reason}."
    assert set(sites.settled.values()) == {3}


def test_after_two_refused_candidates_adam_goes_on_from_the_current_state(tmp_path: Path) -> None:
    settings = fake_settings(
        tmp_path,
        *("rounds=5", "federation.server_optimizer=adam", "federation.server_learning_rate=0.5"),
    )
    folder = run(settings, federation(poisoned({3, 4}))[1])
    verdicts = read_verdicts(folder / "verdicts.jsonl")
    assert [v.passed for v in verdicts] == [True, True, False, False, True]
    kept = {file.name for file in (folder / "optimizer").iterdir()}
    assert "state-2.safetensors" in kept  # release 5 was made from release 2


def test_a_kept_back_candidate_is_never_the_last_attempt(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path, "rounds=2", "federation.attempts=1")
    folder = run(settings, federation(poisoned({1}))[1])
    assert [r.attempt for r in RoundLog(folder).reports()] == [1, 2]


def test_the_last_candidate_is_judged_too_and_the_current_one_delivered(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path, "rounds=2")
    sites, flower = federation(poisoned({2}))

    folder = run(settings, flower)

    releases = releases_of(settings, folder)
    assert (releases.current().number, releases.candidate(), releases.numbers()) == (
        *(1, None),
        [0, 1, 2],
    )
    assert sites.settled == dict.fromkeys(PLACES, 1)
    status = status_in(folder)
    assert (status.state, status.current_release, status.candidate) == ("completed", 1, None)
    assert "release 2 kept back: " in status.message


def test_what_nobody_can_judge_stays_a_candidate_and_the_run_goes_on(tmp_path: Path) -> None:
    """No site has kept the current release, so none can compare."""
    sites, flower = federation(lambda request, reply: reply)

    def forgetful(request: Message, reply: Message) -> Message:
        if request.metadata.message_type == CONTRIBUTE:
            sites.shelves[asked(request)[0]].clear()
        return reply

    flower._tamper = forgetful
    settings = fake_settings(tmp_path, "rounds=2")
    folder = run(settings, flower)
    releases = releases_of(settings, folder)
    candidate = releases.candidate()
    assert candidate is not None
    assert (candidate.number, releases.current().number) == (2, 0)
    assert not (folder / "verdicts.jsonl").exists()
    assert sites.settled == dict.fromkeys(PLACES, 0)
    status = status_in(folder)
    assert (status.current_release, status.candidate) == (0, 2)
    assert status.message == (
        "Kept, but not in use: no site could judge release 1; no site could judge release 2."
    )
    # sites that can judge again decide on it when the federation goes on
    flower._tamper = lambda request, reply: reply
    run(fake_settings(tmp_path, "rounds=3"), flower)
    assert releases.current().number == 3
    assert [v.release_number for v in read_verdicts(folder / "verdicts.jsonl")] == [2, 3]


def test_one_site_that_can_judge_is_enough_and_a_liar_is_not_heard(tmp_path: Path) -> None:
    """At the end oslo fails, rome judges another release, bonn answers as kyiv; kyiv is honest."""

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, JUDGE, ["oslo"]):
            return Message(Error(code=SITE_FAILED, reason="OSError"), reply_to=request)
        if is_of(request, JUDGE, ["rome", "bonn"]):
            said = json.loads(str(reply.content.config_records["json"]["json"]))
            if said["site"] == "rome":
                said["judgement"]["release_number"] = 0
            else:
                said["site"] = "kyiv"
            said["judgement"]["loss"] = 1e6
            reply.content["json"] = ConfigRecord({"json": json.dumps(said)})
        return reply

    settings = fake_settings(tmp_path, "rounds=1")
    folder = run(settings, federation(tamper)[1])
    (verdict,) = read_verdicts(folder / "verdicts.jsonl")
    assert (verdict.passed, verdict.sites, verdict.worst_site) == (True, 1, "kyiv")


def test_a_candidate_that_no_site_can_learn_from_is_given_up(tmp_path: Path) -> None:
    """Its numbers overflow at every site, say: whoever starts from it sends nothing of use."""

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, CONTRIBUTE) and asked(request)[1].release_number == 1:
            reply.content["json"] = ConfigRecord({"json": "{}"})
        return reply

    settings = fake_settings(tmp_path, "rounds=2", "federation.deadline_s=0.5")
    folder = run(settings, federation(tamper)[1])
    releases = releases_of(settings, folder)
    assert releases.load(2).parent_digest == digest(releases.load(0).shared)
    assert releases.current().number == 2
    first, second = read_verdicts(folder / "verdicts.jsonl")
    assert (first.release_number, first.passed, first.sites) == (1, False, 0)
    assert first.reason == (
        "release 1 kept back: sites could learn from the current release, not from it"
    )
    assert second.passed


# --- an operator's rollback -----------------------------------------------------------------------


def test_after_a_rollback_a_federation_goes_on_from_there(tmp_path: Path) -> None:
    _, flower = federation(lambda request, reply: reply)
    settings = fake_settings(tmp_path, "rounds=2")
    folder = run(settings, flower)
    releases = releases_of(settings, folder)
    assert releases.current().number == 2
    releases.rollback(None, why="an operator")
    assert releases.current().number == 1
    run(fake_settings(tmp_path, "rounds=3"), flower)
    assert releases.load(3).parent_digest == digest(releases.load(1).shared)
    assert releases.current().number == 3
    assert list(read_verdicts(folder / "verdicts.jsonl"))[-1].current_number == 1


def test_a_rollback_during_a_round_is_not_undone_by_the_gate(tmp_path: Path) -> None:
    """Release 2 was compared with release 1, which an operator takes back meanwhile."""
    settings = fake_settings(tmp_path, "rounds=4")
    seen: list[tuple[int, int, int]] = []
    _, flower = federation(lambda request, reply: reply)
    folder = settings.run_dir / "federations" / "001"

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, CONTRIBUTE, ["oslo"]):
            _, plan = asked(request)
            seen.append((plan.round_number, plan.release_number, plan.current_release))
            if plan.round_number == 3:
                releases_of(settings, folder).rollback(0, why="an operator")
        return reply

    flower._tamper = tamper
    run(settings, flower)
    assert seen == [(1, 0, 0), (2, 1, 0), (3, 2, 1), (4, 3, 0)]
    verdicts = list(read_verdicts(folder / "verdicts.jsonl"))
    assert [(v.release_number, v.current_number) for v in verdicts] == [(1, 0), (3, 0), (4, 3)]
    assert "no site could judge release 2" in status_in(folder).message


@pytest.mark.parametrize(("operator", "after"), [(False, 2), (True, 0)])
def test_a_verdict_that_was_not_carried_out_is_unless_current_has_moved(
    tmp_path: Path, operator: bool, after: int
) -> None:
    """Killed between the verdict on release 2 and its promotion; then perhaps a rollback."""
    settings = fake_settings(tmp_path, "rounds=2")
    _, flower = federation(lambda request, reply: reply)
    folder = run(settings, flower)
    releases, verdicts = releases_of(settings, folder), Verdicts(folder)
    with releases.aliases.held():
        releases.aliases.move("current", 0 if operator else 1, why="as before")
        releases.aliases.move("candidate", 2, why="as before")
    Gate(releases, verdicts, tolerance=0.1).finish(2)
    assert releases.current().number == after
    assert (releases.candidate() is None) is not operator
