"""The round loop over the real Flower messages, with sites that answer at once."""

import json
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Array, ConfigRecord, Error, Message

from fl.adapter import digest
from fl.errors import FederationError
from fl.flower_records import SITE_FAILED
from fl.settings import Settings
from server.federation.round_log import RoundLog, read_status
from server.federation.strategy import federate
from server.releases import Releases
from tests.direct_grid import DirectGrid, Tamper, simulated_nodes
from tests.server.federation.fake_sites import PLACES, fake_client_app, fake_delta, fake_settings


def grid(nodes: int = 4, *, tamper: Tamper = lambda request, reply: reply) -> DirectGrid:
    return DirectGrid(fake_client_app(), simulated_nodes(nodes, {}), tamper=tamper)


def run(settings: Settings, flower: DirectGrid, name: str = "001") -> Path:
    """Federate and return the folder."""
    folder = settings.run_dir / "federations" / name
    federate(flower, settings, folder=folder, run_id="7")
    return folder


def site_of(message: Message) -> str:
    """The site a request is addressed to."""
    text = str(message.content.config_records["json"]["json"])
    return str(json.loads(text).get("site", ""))


def test_every_round_makes_one_release_and_one_line(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path, "rounds=3")

    folder = run(settings, grid())

    releases, reports = Releases(folder / "releases"), RoundLog(folder).reports()
    assert [report.release_number for report in reports] == [1, 2, 3]
    assert releases.current().number == 3
    for report in reports:
        assert [outcome.site_id for outcome in report.outcomes] == list(PLACES)
        assert all(outcome.admitted for outcome in report.outcomes)
        assert report.mean_heldout_loss == pytest.approx(3.5)  # of 2, 3, 4, 5
        down = releases.load(0).shared.num_bytes
        assert {(o.bytes_down, o.bytes_up) for o in report.outcomes} == {(down, down)}
        assert 0 < report.aggregation_error < 1
    assert releases.load(2).parent_digest == digest(releases.load(1).shared)
    status = read_status(folder)
    assert status is not None
    assert (status.state, status.rounds_done, status.run_id) == ("completed", 3, "7")
    deliveries = json.loads((folder / "deliveries.json").read_text())
    assert [(d["site_id"], d["release_number"]) for d in deliveries] == [(s, 3) for s in PLACES]


def test_a_release_is_the_one_before_plus_the_weighted_mean(tmp_path: Path) -> None:
    settings = fake_settings(tmp_path, "rounds=1")
    flower = grid()
    releases = Releases(run(settings, flower) / "releases")
    start, made = releases.load(0).shared, releases.load(1).shared
    from fl.flower_records import read_plan

    _, plan, _ = read_plan(next(m for m in flower.sent if site_of(m)).content)
    deltas = [fake_delta(plan, start, site) for site in PLACES]
    for name, tensor in start.tensors.items():
        mean = sum(n * d.tensors[name] for n, d in zip((10, 20, 30, 40), deltas, strict=True)) / 100
        np.testing.assert_allclose(made.tensors[name], tensor + mean, atol=1e-6)


@pytest.mark.parametrize("nodes", [1, 2, 3, 9])
def test_any_number_of_nodes_gives_the_same_releases(tmp_path: Path, nodes: int) -> None:
    settings = fake_settings(tmp_path, "rounds=2")
    one = Releases(run(settings, grid(4), "001") / "releases").current()
    other = Releases(run(settings, grid(nodes), "002") / "releases").current()
    assert digest(one.shared) == digest(other.shared)


def test_an_interrupted_federation_goes_on_to_the_same_release(tmp_path: Path) -> None:
    unbroken = Releases(run(fake_settings(tmp_path, "rounds=4"), grid(), "001") / "releases")
    run(fake_settings(tmp_path, "rounds=2"), grid(), "002")
    flower = grid()
    continued = Releases(run(fake_settings(tmp_path, "rounds=4"), flower, "002") / "releases")
    assert digest(continued.current().shared) == digest(unbroken.current().shared)
    rounds = {m.metadata.message_type for m in flower.sent}
    assert rounds == {"query", "train", "evaluate"}
    assert len([m for m in flower.sent if m.metadata.message_type == "train"]) == 2 * len(PLACES)


def test_other_settings_cannot_go_on_with_a_federation(tmp_path: Path) -> None:
    run(fake_settings(tmp_path, "rounds=1"), grid())
    with pytest.raises(FederationError, match="cannot go on"):
        run(fake_settings(tmp_path, "rounds=2", "learning.alpha=8"), grid())


def test_bad_replies_are_recorded_and_the_round_goes_on(tmp_path: Path) -> None:
    """One site's tensor is NaN, one fails with private words, two are fine."""

    def tamper(request: Message, reply: Message) -> Message:
        if request.metadata.message_type != "train":
            return reply
        if site_of(request) == "oslo":
            arrays = reply.content.array_records["adapter"]
            name = next(iter(arrays))
            arrays[name] = Array(np.full(arrays[name].shape, np.nan, np.float32))
        if site_of(request) == "rome":
            text = "<class 'ValueError'>:<'take me to the clinic'>"
            return Message(Error(code=2, reason=text), reply_to=request)
        return reply

    folder = run(fake_settings(tmp_path, "rounds=2"), grid(tamper=tamper))

    for report in RoundLog(folder).reports():
        reasons = {o.site_id: o.reason for o in report.outcomes if not o.admitted}
        assert reasons == {
            "oslo": "it holds NaN or infinity",
            "rome": "the site failed (error code 2)",
        }
        assert report.mean_heldout_loss == pytest.approx(4.5)  # of bonn 4 and kyiv 5
    written = "".join(f.read_text() for f in folder.rglob("*") if f.suffix in (".json", ".jsonl"))
    assert "clinic" not in written
    assert Releases(folder / "releases").load(1).metrics["sites"] == 2


def test_absent_silent_and_failing_sites_are_named(tmp_path: Path) -> None:
    flower = grid()

    def tamper(request: Message, reply: Message) -> Message | None:
        if request.metadata.message_type == "query" and request.metadata.dst_node_id == 100:
            return Message(Error(code=SITE_FAILED, reason="OSError"), reply_to=request)  # oslo
        if request.metadata.message_type == "train" and site_of(request) == "rome":
            return None  # never answers
        return reply

    flower = grid(tamper=tamper)
    settings = fake_settings(tmp_path, "rounds=1", "federation.deadline_s=0.3")
    folder = run(settings, flower)

    (report,) = RoundLog(folder).reports()
    reasons = {o.site_id: o.reason for o in report.outcomes if not o.admitted}
    assert reasons == {"oslo": "no node hosts this site", "rome": "no reply within 0.3 s"}
    status = read_status(folder)
    assert status is not None
    assert status.state == "completed"
    assert "did not reach oslo (no node hosts it)" in status.message


def test_a_missed_quorum_is_tried_again_once(tmp_path: Path) -> None:
    failing = {"oslo": 1, "rome": 1, "bonn": 1}  # site -> how often it still fails

    def tamper(request: Message, reply: Message) -> Message:
        site = site_of(request)
        if request.metadata.message_type == "train" and failing.get(site, 0) > 0:
            failing[site] -= 1
            return Message(Error(code=SITE_FAILED, reason="MemoryError"), reply_to=request)
        return reply

    folder = run(fake_settings(tmp_path, "rounds=1"), grid(tamper=tamper))
    assert [r.release_number for r in RoundLog(folder).reports()] == [1]
    status = read_status(folder)
    assert status is not None
    assert status.state == "completed"
    assert "attempt 1 of 2" in status.message
    assert "oslo (the site failed: MemoryError)" in status.message


def test_all_bad_twice_ends_the_run_and_publishes_nothing(tmp_path: Path) -> None:
    def tamper(request: Message, reply: Message) -> Message:
        if request.metadata.message_type == "train":
            reply.content["json"] = ConfigRecord({"json": "{}"})
        return reply

    settings = fake_settings(tmp_path, "rounds=2")
    with pytest.raises(FederationError, match="0 of 4 sites were admitted, 2 are needed"):
        run(settings, grid(tamper=tamper))
    folder = settings.run_dir / "federations" / "001"
    assert Releases(folder / "releases").current().number == 0
    assert RoundLog(folder).reports() == ()
    status = read_status(folder)
    assert status is not None
    assert status.state == "failed"
    assert "Round 1 was abandoned (attempt 2 of 2)" in status.message


def test_a_node_that_comes_back_under_a_new_id_is_found(tmp_path: Path) -> None:
    flower = grid()
    left = False

    def tamper(request: Message, reply: Message) -> Message:
        nonlocal left
        if request.metadata.message_type == "train" and site_of(request) == "oslo" and not left:
            left = True
            flower.contexts[999] = flower.contexts.pop(100)
        return reply

    flower._tamper = tamper
    folder = run(fake_settings(tmp_path, "rounds=2"), flower)
    assert all(o.admitted for report in RoundLog(folder).reports() for o in report.outcomes)


def test_an_unexpected_error_also_ends_in_a_terminal_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = fake_settings(tmp_path, "rounds=1")
    monkeypatch.setattr(DirectGrid, "pull_messages", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(settings, grid())
    status = read_status(settings.run_dir / "federations" / "001")
    assert status is not None
    assert status.state == "failed"
    assert "roll call" in status.message
