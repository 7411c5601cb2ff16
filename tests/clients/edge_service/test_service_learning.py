"""What the running edge service learns, and that people are answered meanwhile."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest

from clients.edge_service.edge_file import EdgeFile
from clients.learning.contribution import contribute
from clients.learning.courier import WorkFailed
from clients.learning.edge_site import open_edge_site
from fl.adapter import digest
from fl.flower_records import (
    CONTRIBUTE,
    JUDGE,
    SETTLE,
    plan_records,
    read_delivery,
    read_judgement,
    read_update,
    records_to_parts,
)
from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from fl.site import Site
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_plan, tiny_site, told
from tests.clients.learning.sites import moved
from tests.walks.tiny_federation import CANARY


@pytest.fixture
def site(tmp_path: Path) -> TinySite:
    return tiny_site(tmp_path)


def test_learning_through_the_service_is_learning_in_this_process(
    site: TinySite, tmp_path: Path
) -> None:
    """The same update, byte for byte, then a judgement, then settling; also with nobody there."""
    release = site.release()
    here = open_edge_site(
        replace(site.settings, var=str(tmp_path / "elsewhere")),
        Site(id=SITE, place="Elmford", book=tmp_path / f"{SITE}.jsonl"),
        "001",
    )
    expected = contribute(tiny_plan(), release, here)
    with site.running() as client:
        update = read_update(site.carry(tiny_plan(), release))
        assert digest(update.delta) == digest(expected.delta)
        assert replace(update, delta=expected.delta, seconds=expected.seconds) == expected

        candidate = site.release(1, shared=moved(release.shared, by=0.05))
        to_judge = tiny_plan(round_number=1, release_number=1, current_release=0)
        name, judgement = read_judgement(site.carry(to_judge, candidate, kind=JUDGE))
        assert name == SITE
        assert (judgement.release_number, judgement.current_number) == (1, 0)
        assert judgement.loss != judgement.current_loss

        last = tiny_plan(round_number=1, release_number=1)
        delivery = read_delivery(site.carry(last, candidate, kind=SETTLE))
        assert (delivery.site_id, delivery.release_number) == (SITE, 1)
        assert {p.name for p in site.shelf().folder.iterdir()} == {
            "release-0",
            "release-1",
            "personal-1",
            "personal-1-settled",
            "current",
        }
        assert client.status().release_number == 1  # nothing was in use before
        read_delivery(site.carry(tiny_plan(round_number=2, release_number=0), release, kind=SETTLE))
        assert client.status().release_number == 1  # now only the cloud moves it


def test_two_couriers_with_the_same_message_train_once(site: TinySite) -> None:
    release = site.release()
    with site.running(), ThreadPoolExecutor(2) as couriers:
        sent = [couriers.submit(site.carry, tiny_plan(steps=30), release) for _ in range(2)]
        one, other = (read_update(answer.result()) for answer in sent)
        again = read_update(site.carry(tiny_plan(steps=30), release))
    assert digest(one.delta) == digest(other.delta) == digest(again.delta)
    assert one.seconds == other.seconds == again.seconds  # the very same answer
    begun = [line for line in site.said if "begun" in line]
    assert begun == ["train of round 1 begun, run 1"]


def test_prompts_are_answered_while_learning_goes_on(site: TinySite) -> None:
    release = site.release()
    site.put_in_use(release)
    steps = 50
    with site.running() as client, ThreadPoolExecutor(1) as courier:
        alone = read_update(site.carry(tiny_plan(steps=steps), release))
        before = told(client)
        work = tiny_plan(steps=steps, round_number=2, release_number=0)
        learning = courier.submit(site.carry, work, release)
        site.until(lambda: client.status().learning.step > 0)
        during = []
        while client.status().HasField("learning"):
            text, status = told(client), client.status()
            if status.HasField("learning"):  # else it may be written with what was learned
                assert (status.learning.kind, status.learning.steps) == ("train", steps)
                during.append(text)
        disturbed = read_update(learning.result())
    assert len(during) > 2
    assert set(during) == {before}
    # the same round without prompts, at a service that starts from the same shelf
    for folder in site.shelf().folder.glob("personal-2*"):
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    with site.running():
        undisturbed = read_update(site.carry(work, release))
    assert digest(disturbed.delta) == digest(undisturbed.delta) != digest(alone.delta)
    assert disturbed.heldout_loss == undisturbed.heldout_loss


def test_what_fails_at_the_site_is_a_type_name(site: TinySite) -> None:
    release, foreign = site.release(), site.release(1)
    with site.running():
        for number, (sent, name) in enumerate(
            [
                (replace(release, signature=bytes(64)), "ReleaseError"),
                (replace(release, manifest=release.manifest + b" "), "ReleaseError"),
                (foreign, "ReleaseError"),  # release 1, where the plan speaks of release 0
                (replace(release, shared=moved(release.shared, by=0.1)), "ReleaseError"),
                (site.release(federation="002"), "ReleaseError"),
            ],
            start=1,
        ):
            with pytest.raises(WorkFailed) as failed:
                site.carry(tiny_plan(round_number=number, release_number=0), sent)
            assert failed.value.reason == name
            assert f"{name}: " in (site.folder / "failure.txt").read_text()
        with pytest.raises(WorkFailed) as failed:
            site.carry(tiny_plan(), release, site="ash")
        assert failed.value.reason == "FederationError"
        assert not list(site.shelf().folder.glob("*"))  # nothing of it was kept


def test_a_book_that_cannot_be_read_stops_learning_and_nothing_else(
    site: TinySite, tmp_path: Path
) -> None:
    release = site.release()
    site.put_in_use(release)
    book = tmp_path / f"{SITE}.jsonl"
    good = book.read_text()
    book.write_text(f'{{"prompt": "{CANARY}"}}\n')
    with site.running() as client:
        assert client.status().train_prompts == 0
        assert told(client)
        with pytest.raises(WorkFailed) as failed:
            site.carry(tiny_plan(), release)
        assert failed.value.reason == "BookError"
        book.write_text(good)  # mended while it runs
        assert read_update(site.carry(tiny_plan(), release)).num_examples == 9
        book.write_text(good * 2)
        two = tiny_plan(round_number=2, release_number=0)
        assert read_update(site.carry(two, release)).num_examples == 18
    assert any(line.startswith("the book cannot be read: BookError") for line in site.said)


def test_an_end_gives_up_learning_and_tells_who_waits(site: TinySite) -> None:
    """Nothing is left half-written, and the round can be done again."""
    release = site.release()
    sent = tiny_plan(steps=100_000)
    with ThreadPoolExecutor(1) as courier:
        with site.running() as client:
            service = site.service
            answer = courier.submit(work_once, service, sent, release)
            site.until(lambda: client.status().learning.step > 0)
        assert answer.result(timeout=30) is grpc.StatusCode.UNAVAILABLE
    assert any("given up" in line for line in site.said)
    assert {p.name for p in site.shelf().folder.iterdir()} == {"release-0"}


def work_once(service: EdgeFile, plan: RoundPlan, release: AdapterRelease) -> grpc.StatusCode:
    """One call without a courier's patience: its status."""
    text, arrays = records_to_parts(plan_records(plan, release, site_id=SITE))
    with grpc.insecure_channel(service.address) as channel:
        try:
            pb_grpc.LearningServiceStub(channel).Work(
                pb.WorkRequest(kind=CONTRIBUTE, json=text, arrays=arrays),
                metadata=service.metadata,
            )
        except grpc.RpcError as error:
            code: grpc.StatusCode = error.code()
            return code
    return grpc.StatusCode.OK
