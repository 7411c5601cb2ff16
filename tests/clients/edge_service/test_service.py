"""The edge service, really running: where it says it is, who may call, how it ends."""

import json
import stat
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients.edge_model import base_loads
from clients.edge_service.asking_client import living_service
from clients.edge_service.service import edge_service
from clients.learning.courier import WorkFailed
from fl.errors import FederationError, GenerationError, SettingsError
from fl.wire.netgpt.v1 import edge_pb2 as pb
from fl.wire.netgpt.v1 import edge_pb2_grpc as pb_grpc
from tests.clients.edge_service.tiny_service import (
    SHORT,
    SITE,
    TinySite,
    tiny_plan,
    tiny_site,
    told,
)
from tests.walks.tiny_federation import CANARY


@pytest.fixture
def site(tmp_path: Path) -> TinySite:
    return tiny_site(tmp_path)


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
        told(client)
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
