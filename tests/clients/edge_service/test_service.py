"""The edge service, really running: who may call, what it learns, what it answers, how it ends."""

import json
import stat
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients.adapter_shelf import served_adapter
from clients.asking.ask import Leaving
from clients.asking.enrichment import enrich
from clients.edge_model import base_loads, edge_model
from clients.edge_service.asking_client import AskingClient, living_service
from clients.edge_service.asking_codec import Ended
from clients.edge_service.edge_file import EdgeFile
from clients.edge_service.service import edge_service
from clients.learning.contribution import contribute, open_edge_site
from clients.learning.courier import WorkFailed
from fl.adapter import digest
from fl.errors import FederationError, GenerationError, SettingsError
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
from fl.generation import TextPiece
from fl.release import AdapterRelease
from fl.rounds import RoundPlan
from fl.site import Site
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc
from tests.clients.edge_service.fake_cloud import PIECES, fake_cloud
from tests.clients.edge_service.tiny_service import SITE, TinySite, tiny_site
from tests.clients.learning.sites import moved, tiny_plan
from tests.walks.tiny_federation import CANARY

SHORT = f"{CANARY} a table for two"


@pytest.fixture
def site(tmp_path: Path) -> TinySite:
    return tiny_site(tmp_path)


# --- start, border, end ---


def test_it_says_where_it_is_and_who_may_call(site: TinySite) -> None:
    with site.running() as client:
        service = site.service
        assert stat.S_IMODE(site.file.stat().st_mode) == 0o600
        assert json.loads(site.file.read_text()).keys() == {"address", "token", "pid", "http"}
        assert service.address.startswith("127.0.0.1:")
        assert site.said[0] == f"site elm on {service.address}, release none"
        status = client.status()
        assert (status.site_id, status.federation, status.train_prompts) == (SITE, "", 9)
        assert status.heldout_prompts == 3
        assert not status.HasField("release_number")
        assert not status.HasField("learning")
        with grpc.insecure_channel(service.address) as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            answer = check(health_pb2.HealthCheckRequest(service="netgpt.v1.LearningService"))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert not site.file.exists()
    assert site.said[-1] == "stopped"


@pytest.mark.parametrize("token", [None, "", "Bearer ", "Bearer wrong", "the token alone"])
def test_without_the_token_nothing_is_answered(site: TinySite, token: str | None) -> None:
    with site.running():
        service = site.service
        shown = service.token if token == "the token alone" else token
        metadata = [] if shown is None else [("authorization", shown)]
        with grpc.insecure_channel(service.address) as channel:
            learning = pb_grpc.LearningServiceStub(channel)
            asking = pb_grpc.AskingServiceStub(channel)
            calls: list[Callable[[], object]] = [
                lambda: learning.Work(pb.WorkRequest(json="x" * 1000), metadata=metadata),
                lambda: list(asking.Ask(pb.AskRequest(short=SHORT), metadata=metadata)),
                lambda: asking.GetStatus(pb.GetStatusRequest(), metadata=metadata),
            ]
            for call in calls:
                with pytest.raises(grpc.RpcError) as refused:
                    call()
                assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_the_base_model_is_loaded_once(site: TinySite) -> None:
    before = base_loads()
    release = site.release()
    site.put_in_use(release)
    with site.running() as client:
        site.carry(tiny_plan(), release)
        list(with_failure(client))
        site.carry(tiny_plan(round_number=2, release_number=0), release)
    assert base_loads() == before + 1


def test_an_address_elsewhere_is_refused_before_the_model_is_loaded(tmp_path: Path) -> None:
    before = base_loads()
    site = tiny_site(tmp_path, "edge.address=0.0.0.0:0")
    with pytest.raises(SettingsError, match=r"edge\.address"), site.running():
        pass
    assert base_loads() == before


def test_a_second_service_of_the_site_is_refused(site: TinySite) -> None:
    with site.running():
        mine = site.file.read_bytes()
        second = edge_service(site.settings, site.said.append, stop=threading.Event())
        with pytest.raises(FederationError, match="Another edge service"), second:
            pass
        assert site.file.read_bytes() == mine


def test_a_stop_before_the_model_is_loaded_ends_it(site: TinySite) -> None:
    stop = threading.Event()
    stop.set()
    with edge_service(site.settings, site.said.append, stop=stop) as owner:
        assert owner is None
    assert not site.file.exists()


def test_what_a_killed_service_was_writing_is_removed(site: TinySite) -> None:
    site.put_in_use(site.release())
    left = [site.folder / "shelf" / ".fetch-x" / "release", site.shelf().folder / ".personal-1-x"]
    for folder in left:
        folder.mkdir(parents=True)
    site.file.write_text('{"address": "127.0.0.1:1", "token": "old", "pid": 1}')
    assert living_service(site.settings, SITE) is None
    with site.running():
        assert not any(folder.exists() for folder in left)
        client = living_service(site.settings, SITE)
        assert client is not None
        client.close()


# --- learning ---


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
            status = client.status().learning
            assert (status.kind, status.steps) == ("train", steps) or not status.kind
            during.append(told(client))
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


# --- asking ---


def test_a_damaged_personal_part_leaves_the_release_alone(site: TinySite) -> None:
    release = site.release()
    site.put_in_use(release)
    with site.running() as client:
        alone = told(client)
    site.shelf().keep_personal(moved(release.shared, by=0.3), round_number=1)
    with site.running() as client:
        assert told(client) != alone
    (site.shelf().folder / "personal-1" / "adapter_model.safetensors").write_bytes(b"torn")
    with site.running() as client:
        assert told(client) == alone
    assert "a personal part on the shelf is damaged: AdapterError" in site.said


def told(client: AskingClient) -> str:
    """The enriched prompt; the cloud is away."""
    events = client.ask(SHORT)
    leaving = next(events)
    assert isinstance(leaving, Leaving)
    with pytest.raises(GenerationError) as failed:
        next(events)
    assert failed.value.status == "UNAVAILABLE"
    return leaving.enriched.text


def with_failure(client: AskingClient) -> list[str]:
    return [told(client)]


def test_the_whole_corridor_through_the_service(tmp_path: Path) -> None:
    with fake_cloud() as cloud:
        site = tiny_site(tmp_path, cloud=cloud.address)
        release = site.release(3, shared=moved(site.shared(), by=0.1))
        cloud.offer(release)
        site.folder.mkdir(parents=True)
        (site.folder / "place.json").write_text('{"place": "Elmford", "weather": "snow"}')
        with site.running() as client:
            site.until(lambda: client.status().release_number == 3)
            leaving, *pieces, ended = client.ask(SHORT)
            assert isinstance(leaving, Leaving)
            assert isinstance(ended, Ended)
            model = edge_model(site.settings)
            assert leaving.card == "place Elmford; weather snow"
            assert "".join(p.text for p in pieces if isinstance(p, TextPiece)) == "".join(PIECES)
            assert cloud.prompts == [leaving.disclosed.text]
            assert ended.bytes_up > len(leaving.disclosed.text)
            # the card is of this moment
            (site.folder / "place.json").write_text('{"place": "Elmford", "weather": "fog"}')
            later = next(client.ask(SHORT))
            assert isinstance(later, Leaving)
            assert later.card == "place Elmford; weather fog"
        # the service's text is what the same adapter writes in this process
        model.set_adapter(
            served_adapter(release.shared, None, layers=model.base.layers, settings=site.settings)
        )
        enriched = enrich(model, leaving.card, SHORT, site.settings.asking.enriched_tokens)
        assert leaving.enriched.text == enriched.text


def test_who_leaves_ends_the_clouds_work_too(tmp_path: Path) -> None:
    go_on = threading.Event()
    with fake_cloud() as cloud:
        cloud.hold = lambda: go_on.wait(30)
        site = tiny_site(tmp_path, cloud=cloud.address)
        site.put_in_use(site.release())
        with site.running() as client:
            events = client.ask(SHORT)
            next(events)
            site.until(lambda: cloud.prompts)
            events.close()  # type: ignore[attr-defined]
            assert cloud.ended.wait(30)  # while it is still held up
        go_on.set()


def test_before_the_first_release_it_says_so(site: TinySite) -> None:
    with site.running() as client:
        with pytest.raises(GenerationError, match="No release has reached site elm") as failed:
            list(client.ask(SHORT))
        assert failed.value.status == "FAILED_PRECONDITION"
        for prompt in ("", "  ", "x" * 4001):
            with pytest.raises(GenerationError) as refused:
                list(client.ask(prompt))
            assert refused.value.status == "INVALID_ARGUMENT"


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


def test_no_private_word_is_written_or_said(site: TinySite, tmp_path: Path) -> None:
    """The canary stands in every record and in the prompt; only the book holds it on disk."""
    release = site.release()
    site.put_in_use(release)
    with site.running() as client:
        site.carry(tiny_plan(), release)
        told(client)
        (site.folder / "place.json").write_text(f"no json {CANARY}")
        with pytest.raises(GenerationError) as failed:
            list(client.ask(SHORT))
        (tmp_path / f"{SITE}.jsonl").write_text(f'{{"prompt": "{CANARY}", "completion": 3}}\n')
        with pytest.raises(WorkFailed):
            site.carry(tiny_plan(round_number=2, release_number=0), release)
        (site.folder / "place.json").unlink()
        for file in site.settings.run_dir.rglob("*"):
            assert not file.is_file() or CANARY.encode() not in file.read_bytes(), file
    assert CANARY not in str(failed.value)
    assert CANARY not in "\n".join(site.said)
