"""The round loop over the real Flower messages, with sites that answer at once."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Error, Message

from fl.adapter import add, digest
from fl.errors import FederationError, ReleaseError
from fl.flower_records import CONTRIBUTE, JUDGE, ROLL_CALL, SETTLE, SITE_FAILED, wire_bytes
from server.federation.round_log import RoundLog, read_status
from server.federation.strategy import STOPPED
from server.releases import lock
from tests.direct_grid import DirectGrid
from tests.server.federation.fake_sites import (
    PLACES,
    asked,
    bytes_of,
    fake_delta,
    fake_loss,
    fake_settings,
    grid,
    is_of,
    releases_of,
    run,
)


def test_every_round_makes_one_release_and_the_gate_makes_it_current(tmp_path: Path) -> None:
    settings, flower = fake_settings(tmp_path, "rounds=3"), grid()

    folder = run(settings, flower)

    releases, reports = releases_of(settings, folder), RoundLog(folder).reports()
    assert [report.release_number for report in reports] == [1, 2, 3]
    assert (releases.current().number, releases.previous_number(), releases.candidate()) == (
        *(3, 2),
        None,
    )
    for report in reports:
        assert [outcome.site_id for outcome in report.outcomes] == list(PLACES)
        assert all(outcome.admitted for outcome in report.outcomes)
        first = releases.load(report.round_number - 1).shared
        plan = next(asked(m)[1] for m in flower.sent if is_of(m, CONTRIBUTE))
        plan = plan.__class__(**vars(plan) | {"round_number": report.round_number})
        trained = [fake_loss(add(first, fake_delta(plan, first, s)), s) for s in PLACES]
        assert report.mean_heldout_loss == pytest.approx(np.mean(trained))
        # as weighed by Flower's own serialisation of what was really sent
        replies = {m.metadata.reply_to_message_id: m.content for m in flower.answered}
        weighed = {
            asked(m)[0]: (wire_bytes(m.content), wire_bytes(replies[m.metadata.message_id]))
            for m in flower.sent
            if is_of(m, CONTRIBUTE) and asked(m)[1].round_number == report.round_number
        }
        assert {o.site_id: (o.bytes_down, o.bytes_up) for o in report.outcomes} == weighed
        assert 0 < report.aggregation_error < 1
    # each release but the last was judged in the round after, by all sites
    assert reports[0].verdict is None
    assert [r.verdict.release_number for r in reports[1:] if r.verdict] == [1, 2]
    assert all(r.verdict.passed and r.verdict.sites == 4 for r in reports[1:] if r.verdict)
    assert len((folder / "verdicts.jsonl").read_text().splitlines()) == 3
    kinds = [m.metadata.message_type for m in flower.sent]
    assert [kinds.count(k) for k in (ROLL_CALL, CONTRIBUTE, JUDGE, SETTLE)] == [4, 12, 4, 4]
    # and every release is one step from the one before
    assert releases.load(2).parent_digest == digest(releases.load(1).shared)
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.rounds_done, status.run_id) == ("completed", 3, "7")
    assert (status.current_release, status.candidate, status.message) == (3, None, "")
    assert status.pid == os.getpid()
    deliveries = json.loads((folder / "deliveries.json").read_text())
    assert [(d["site_id"], d["release_number"]) for d in deliveries] == [(s, 3) for s in PLACES]


def test_a_release_is_the_one_before_plus_the_weighted_mean(tmp_path: Path) -> None:
    settings, flower = fake_settings(tmp_path, "rounds=1"), grid()
    releases = releases_of(settings, run(settings, flower))
    start, made = releases.load(0).shared, releases.load(1).shared
    plan = next(asked(m)[1] for m in flower.sent if is_of(m, CONTRIBUTE))
    deltas = [fake_delta(plan, start, site) for site in PLACES]
    for name, tensor in start.tensors.items():
        mean = sum(n * d.tensors[name] for n, d in zip((10, 20, 30, 40), deltas, strict=True)) / 100
        np.testing.assert_allclose(made.tensors[name], tensor + mean, atol=1e-6)


def test_adam_moves_every_number_by_about_its_learning_rate(tmp_path: Path) -> None:
    """First step, b1 = 0.9, b2 = 0.99: |m / sqrt(v)| = 0.1 d / sqrt(0.01 d^2 + ...) < 1."""
    settings = fake_settings(
        tmp_path,
        *("rounds=2", "federation.server_optimizer=adam", "federation.server_learning_rate=0.01"),
    )
    folder = run(settings, grid())
    releases = releases_of(settings, folder)
    for name, tensor in releases.load(0).shared.tensors.items():
        step = np.abs(releases.load(1).shared.tensors[name] - tensor)
        assert 0.005 < np.median(step) < 0.01
    assert {f.name for f in (folder / "optimizer").iterdir()} == {
        *("state-1.safetensors", "state-2.safetensors")
    }


@pytest.mark.parametrize("nodes", [1, 2, 3, 9])
def test_any_number_of_nodes_gives_the_same_releases(tmp_path: Path, nodes: int) -> None:
    settings = fake_settings(tmp_path, "rounds=2")
    one = bytes_of(run(settings, grid(4)))
    (settings.run_dir / "federations" / "001").rename(settings.run_dir / "with-4")
    assert bytes_of(run(settings, grid(nodes))) == one


def test_a_finished_federation_takes_more_rounds(tmp_path: Path) -> None:
    unbroken = run(fake_settings(tmp_path, "rounds=4"), grid())
    unbroken.rename(tmp_path / "unbroken")
    run(fake_settings(tmp_path, "rounds=2"), grid())
    flower = grid()
    continued = run(fake_settings(tmp_path, "rounds=4"), flower)
    kinds = [m.metadata.message_type for m in flower.sent]
    assert kinds.count(CONTRIBUTE) == 2 * len(PLACES)
    for number in range(5):
        name = f"releases/{number}/adapter_model.safetensors"
        assert (continued / name).read_bytes() == (tmp_path / "unbroken" / name).read_bytes()


def test_other_settings_cannot_go_on_with_a_federation(tmp_path: Path) -> None:
    run(fake_settings(tmp_path, "rounds=1"), grid())
    with pytest.raises(FederationError, match="cannot go on"):
        run(fake_settings(tmp_path, "rounds=2", "learning.alpha=8"), grid())


def test_bad_replies_are_recorded_and_the_round_goes_on(tmp_path: Path) -> None:
    """One site's tensor is NaN, one fails with private words, two are fine."""

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, CONTRIBUTE, ["oslo"]):
            arrays = reply.content.array_records["adapter"]
            name = next(iter(arrays))
            arrays[name] = Array(np.full(arrays[name].shape, np.nan, np.float32))
        if is_of(request, CONTRIBUTE, ["rome"]):
            text = "<class 'ValueError'>:<'take me to the clinic'>"
            return Message(Error(code=2, reason=text), reply_to=request)
        return reply

    settings = fake_settings(tmp_path, "rounds=2")
    folder = run(settings, grid(tamper=tamper))

    for report in RoundLog(folder).reports():
        reasons = {o.site_id: o.reason for o in report.outcomes if not o.admitted}
        assert reasons == {
            "oslo": "it holds NaN or infinity",
            "rome": "the site failed (error code 2)",
        }
    written = "".join(f.read_text() for f in folder.rglob("*") if f.suffix in (".json", ".jsonl"))
    assert "clinic" not in written
    assert releases_of(settings, folder).load(1).metrics["sites"] == 2


def test_absent_silent_and_failing_sites_are_named(tmp_path: Path) -> None:
    def tamper(request: Message, reply: Message) -> Message | None:
        node = request.metadata.dst_node_id
        if request.metadata.message_type == ROLL_CALL and node == 100:  # oslo
            return Message(Error(code=SITE_FAILED, reason="OSError"), reply_to=request)
        return None if is_of(request, CONTRIBUTE, ["rome"]) else reply  # rome never answers

    settings = fake_settings(tmp_path, "rounds=1", "federation.deadline_s=0.3")
    folder = run(settings, grid(tamper=tamper))

    (report,) = RoundLog(folder).reports()
    reasons = {o.site_id: o.reason for o in report.outcomes if not o.admitted}
    assert reasons == {"oslo": "no node hosts this site", "rome": "no reply within 0.3 s"}
    status = read_status(folder)
    assert status is not None
    assert status.state == "completed"
    assert "did not reach oslo (no node hosts it)" in status.message


def test_a_missed_quorum_is_tried_again(tmp_path: Path) -> None:
    failing = {"oslo": 1, "rome": 1, "bonn": 2}  # site -> how often it still fails

    def tamper(request: Message, reply: Message) -> Message:
        for site in PLACES:
            if is_of(request, CONTRIBUTE, [site]) and failing.get(site, 0) > 0:
                failing[site] -= 1
                return Message(Error(code=SITE_FAILED, reason="MemoryError"), reply_to=request)
        return reply

    folder = run(fake_settings(tmp_path, "rounds=1", "federation.attempts=2"), grid(tamper=tamper))
    (report,) = RoundLog(folder).reports()
    assert (report.release_number, report.attempt) == (1, 2)
    status = read_status(folder)
    assert status is not None
    assert status.state == "completed"
    assert "attempt 1 of 2" in status.message
    assert "oslo (the site failed: MemoryError)" in status.message


def test_a_robust_rule_with_too_few_updates_is_tried_again(tmp_path: Path) -> None:
    """Against one bad site trimmed_mean needs 3 updates, though a quorum of 4 sites is 2."""
    failing = {"oslo": 1, "rome": 1}

    def tamper(request: Message, reply: Message) -> Message:
        for site in PLACES:
            if is_of(request, CONTRIBUTE, [site]) and failing.get(site, 0) > 0:
                failing[site] -= 1
                return Message(Error(code=SITE_FAILED, reason="MemoryError"), reply_to=request)
        return reply

    settings = fake_settings(tmp_path, "rounds=1", "federation.robust=trimmed_mean")
    (report,) = RoundLog(run(settings, grid(tamper=tamper))).reports()
    assert (report.release_number, report.attempt) == (1, 2)
    assert sum(bool(o.dropped) for o in report.outcomes) == 1


@pytest.mark.parametrize("attempts", [1, 3])
def test_all_bad_every_time_ends_the_run_and_publishes_nothing(
    tmp_path: Path, attempts: int
) -> None:
    def tamper(request: Message, reply: Message) -> Message:
        if request.metadata.message_type == CONTRIBUTE:
            reply.content["json"] = ConfigRecord({"json": "{}"})
        return reply

    settings = fake_settings(tmp_path, "rounds=2", f"federation.attempts={attempts}")
    flower = grid(tamper=tamper)
    with pytest.raises(FederationError, match="0 of 4 sites were admitted, 2 are needed"):
        run(settings, flower)
    assert sum(is_of(m, CONTRIBUTE) for m in flower.sent) == attempts * len(PLACES)
    folder = settings.run_dir / "federations" / "001"
    assert releases_of(settings, folder).current().number == 0
    assert RoundLog(folder).reports() == ()
    status = read_status(folder)
    assert status is not None
    assert status.state == "failed"
    assert f"Round 1 was abandoned (attempt {attempts} of {attempts})" in status.message


def test_a_node_that_comes_back_under_a_new_id_is_found(tmp_path: Path) -> None:
    left = False

    def tamper(request: Message, reply: Message) -> Message:
        nonlocal left
        if is_of(request, CONTRIBUTE, ["oslo"]) and not left:
            left = True
            flower.contexts[999] = flower.contexts.pop(100)
        return reply

    flower = grid(tamper=tamper)
    folder = run(fake_settings(tmp_path, "rounds=2"), flower)
    assert all(o.admitted for report in RoundLog(folder).reports() for o in report.outcomes)


def test_sites_join_and_leave_from_round_to_round(tmp_path: Path) -> None:
    flower = grid()
    absent = {"kyiv": flower.contexts.pop(103)}

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, CONTRIBUTE, ["bonn"]) and asked(request)[1].round_number == 1:
            flower.contexts[103] = absent["kyiv"]  # joins late
            del flower.contexts[100]  # oslo leaves
        return reply

    flower._tamper = tamper
    folder = run(fake_settings(tmp_path, "rounds=2", "federation.deadline_s=0.2"), flower)
    first, second = RoundLog(folder).reports()
    assert [o.site_id for o in first.outcomes if o.admitted] == ["oslo", "rome", "bonn"]
    assert [o.site_id for o in second.outcomes if o.admitted] == ["rome", "bonn", "kyiv"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ZeroDivisionError(), "stopped in step 'round 1'"),
        (KeyboardInterrupt(), STOPPED),
        (SystemExit(1), STOPPED),  # what Flower makes of SIGTERM
    ],
)
def test_whatever_ends_a_run_leaves_a_terminal_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    def pull(self: DirectGrid, ids: Iterable[str]) -> Iterable[Message]:
        if any(m.metadata.message_type == CONTRIBUTE for m in self.sent):
            raise error
        return original(self, ids)

    original = DirectGrid.pull_messages
    monkeypatch.setattr(DirectGrid, "pull_messages", pull)
    settings = fake_settings(tmp_path, "rounds=1")
    with pytest.raises(type(error)):
        run(settings, grid())
    status = read_status(settings.run_dir / "federations" / "001")
    assert status is not None
    assert status.state == "failed"
    assert said in status.message


def test_a_second_cloud_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path, "rounds=1")
    folder = run(settings, grid())
    before = (folder / "status.json").read_bytes()
    program = (
        "import sys, time; from pathlib import Path; from server.releases import lock\n"
        "with lock(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(folder / "releases")], stdout=subprocess.PIPE
    )
    try:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(ReleaseError, match=f"Another cloud .pid {other.pid}. works on"):
            run(fake_settings(tmp_path, "rounds=2"), grid())
        assert (folder / "status.json").read_bytes() == before
    finally:
        other.kill()
        other.wait()
    with lock(folder / "releases"):
        pass  # it ended with its process


def test_a_damaged_newest_release_is_set_aside_and_its_round_done_again(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path, "rounds=2")
    folder = run(settings, grid())
    good = (folder / "releases" / "2" / "adapter_model.safetensors").read_bytes()
    (folder / "releases" / "2" / "adapter_model.safetensors").write_bytes(good[:-1])
    run(settings, grid())
    releases = releases_of(settings, folder)
    assert releases.numbers() == [0, 1, 3]  # the number of the damaged one is not given again
    assert releases.current().number == 3
    assert (folder / "releases" / "3" / "adapter_model.safetensors").read_bytes() == good
    reports = RoundLog(folder).reports()
    assert [(r.round_number, r.release_number) for r in reports] == [(1, 1), (2, 2), (2, 3)]
    status = read_status(folder)
    assert status is not None
    assert "Release 2 was set aside" in status.message
