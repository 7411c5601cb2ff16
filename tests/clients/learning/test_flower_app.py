"""The ClientApp: what it hosts, what it carries, and what it never says."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flwr.app import Context, Message, RecordDict

from clients.learning.failure import FAILURE_FILE
from clients.learning.flower_app import app
from fl.errors import BookError, ReleaseError
from fl.flower_records import (
    CONTRIBUTE,
    JUDGE,
    ROLL_CALL,
    SETTLE,
    delivery_records,
    judgement_records,
    plan_records,
    read_delivery,
    read_failure,
    read_judgement,
    read_roll_call,
    read_update,
    records_to_parts,
    roll_call_records,
    update_records,
)
from fl.release import Delivery, Judgement
from fl.run_config import run_settings
from fl.settings import Settings
from fl.signing import SIGNING_PUB
from fl.site_list import federated_sites, site_folder
from tests.clients.edge_service.fake_service import fake_edge_service
from tests.fl.adapters import update
from tests.fl.plans import fedavg_plan
from tests.fl.releases import CLOUD_KEY, signed

PLAN = fedavg_plan(local_steps=1, batch_tokens=64, deadline_s=5)
RELEASE = signed(1, number=0)
JUDGED = Judgement(release_number=0, loss=2.0, current_number=3, current_loss=1.0)
SECRET = "take me to the clinic"


def context(tmp_path: Path, **node_config: int | str) -> Context:
    run_config: dict[str, bool | float | int | str] = {
        "overrides": f"var={tmp_path} keys={tmp_path} sites=3"
    }
    return Context(
        run_id=1,
        node_id=7,
        node_config=dict(node_config),
        state=RecordDict(),
        run_config=run_config,
    )


def ask(kind: str, content: RecordDict, where: Context) -> Message:
    message = Message(content, dst_node_id=7, message_type=kind)
    message.metadata.__dict__["_message_id"] = uuid4().hex  # the SuperLink gives it otherwise
    return app(message, where)


def said(reply: Message) -> str:
    assert reply.has_error()
    return read_failure(code=reply.error.code, reason=reply.error.reason or "")


def test_a_node_hosts_every_nth_site_or_the_one_it_is_configured_for(tmp_path: Path) -> None:
    first = context(tmp_path, **{"partition-id": 0, "num-partitions": 2})
    sites = [site.id for site in federated_sites(run_settings(first.run_config))]
    second = context(tmp_path, **{"partition-id": 1, "num-partitions": 2})
    named = context(tmp_path, site=sites[2])
    stranger = context(tmp_path, site="nowhere")
    # an edge service knows its site; what the run's settings list is the cloud's
    served = context(tmp_path, site="elsewhere", edge=str(tmp_path / "edge.json"))
    for where, expected in (
        (first, sites[::2]),
        (second, sites[1::2]),
        (named, sites[2:]),
        (stranger, []),
        (served, ["elsewhere"]),
    ):
        reply = ask(ROLL_CALL, roll_call_records(), where)
        assert read_roll_call(reply.content) == tuple(expected)


# --- in this process, as in a simulation ---


class FakeSiteWork(ModuleType):
    """Stands for clients.learning.site_work: what crosses the border is all that counts here."""

    class Work:
        def __init__(self, **fields: Any) -> None:
            self.__dict__.update(fields)

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__("clients.learning.site_work")
        self.failure = failure
        self.threads: list[int] = []

    def do_work(
        self, work: Any, open_site: Callable[[], Settings], key: object, *, use_settled: bool
    ) -> Any:
        self.threads.append(open_site().threads)
        assert use_settled
        if self.failure:
            raise self.failure
        return answer(work.kind, work.site_id)


def answer(kind: str, site_id: str) -> tuple[str, dict[str, bytes]]:
    if kind == CONTRIBUTE:
        return records_to_parts(update_records(update(RELEASE.shared, site_id=site_id)))
    if kind == JUDGE:
        return records_to_parts(judgement_records(site_id, JUDGED))
    delivery = Delivery(
        site_id=site_id,
        release_number=0,
        shared_heldout_loss=2.0,
        settled_heldout_loss=1.5,
        seconds=0.1,
    )
    return records_to_parts(delivery_records(delivery))


@pytest.fixture
def simulated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    """A node of a simulation whose learning is faked, with the cloud's key in place."""
    pem = CLOUD_KEY.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / SIGNING_PUB).write_bytes(pem)
    edge_site = ModuleType("clients.learning.edge_site")
    monkeypatch.setattr(edge_site, "open_edge_site", lambda settings, *_: settings, raising=False)
    monkeypatch.setitem(sys.modules, edge_site.__name__, edge_site)
    return context(tmp_path, **{"partition-id": 0, "num-partitions": 1})


def test_updates_judgements_and_deliveries_are_carried(
    simulated: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = FakeSiteWork()
    monkeypatch.setitem(sys.modules, work.__name__, work)
    site = federated_sites(run_settings(simulated.run_config))[1].id
    sent = plan_records(PLAN, RELEASE, site_id=site)
    assert read_update(ask(CONTRIBUTE, sent, simulated).content).site_id == site
    assert read_judgement(ask(JUDGE, sent, simulated).content) == (site, JUDGED)
    assert read_delivery(ask(SETTLE, sent, simulated).content).site_id == site
    assert work.threads == [1, 1, 1]  # sites of a simulation share the cores


@pytest.mark.parametrize(
    ("failure", "kept"),
    [
        (KeyError(SECRET), "KeyError: (text left out)"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, SECRET), "UnicodeDecodeError: (text left out)"),
        (BookError("book.jsonl, line 3: no completion"), "BookError: book.jsonl, line 3"),
        (ReleaseError("The signature is another"), "ReleaseError: The signature is another"),
    ],
)
def test_a_failure_leaves_the_site_as_a_type_name(
    simulated: Context, monkeypatch: pytest.MonkeyPatch, failure: Exception, kept: str
) -> None:
    work = FakeSiteWork(failure)
    monkeypatch.setitem(sys.modules, work.__name__, work)
    settings = run_settings(simulated.run_config)
    site = federated_sites(settings)[0].id
    reply = ask(CONTRIBUTE, plan_records(PLAN, RELEASE, site_id=site), simulated)
    assert said(reply) == f"the site failed: {type(failure).__name__}"
    details = (site_folder(settings, site) / FAILURE_FILE).read_text()
    assert kept in details
    assert "do_work" in details  # where it happened
    assert SECRET not in details


def test_a_plan_for_somebody_else_is_an_error(tmp_path: Path, simulated: Context) -> None:
    sent = plan_records(PLAN, RELEASE, site_id="nowhere")
    for where in (simulated, context(tmp_path, site="elm", edge=str(tmp_path / "edge.json"))):
        assert said(ask(CONTRIBUTE, sent, where)) == "the site failed: FederationError"


# --- to an edge service ---


@pytest.fixture
def served(tmp_path: Path) -> Context:
    """A node with an edge service; the run's settings name files that this host has not."""
    where = context(tmp_path, site="elm", edge=str(tmp_path / "edge.json"))
    where.run_config["config"] = "/of/the/cloud/alone.yaml"
    return where


@pytest.mark.parametrize("kind", [CONTRIBUTE, JUDGE, SETTLE])
def test_an_edge_service_gets_the_message_and_its_answer_comes_back(
    tmp_path: Path, served: Context, kind: str
) -> None:
    sent = plan_records(PLAN, RELEASE, site_id="elm")
    read = {CONTRIBUTE: read_update, JUDGE: read_judgement, SETTLE: read_delivery}[kind]
    with fake_edge_service(tmp_path / "edge.json", lambda _: answer(kind, "elm")) as service:
        assert read(ask(kind, sent, served).content) is not None
    (got,) = service.received
    assert (got.kind, got.run) == (kind, "1")
    assert (got.json, dict(got.arrays)) == records_to_parts(sent)


def test_an_edge_services_failure_is_a_type_name_whatever_it_says(
    tmp_path: Path, served: Context
) -> None:
    sent = plan_records(PLAN, RELEASE, site_id="elm")
    for reason, expected in (("BookError", "BookError"), (SECRET, "Exception")):
        with fake_edge_service(tmp_path / "edge.json", lambda _, r=reason: r):  # type: ignore[misc]
            assert said(ask(CONTRIBUTE, sent, served)) == f"the site failed: {expected}"


def test_the_courier_waits_for_a_service_that_comes_back_elsewhere(
    tmp_path: Path, served: Context
) -> None:
    """First there is no file, then a dead one, then a service that wants another token."""
    file, calls = tmp_path / "edge.json", []

    def restart(request: object) -> Any:
        calls.append(request)
        if len(calls) == 1:
            raise ConnectionResetError  # the call breaks off, as when a process is killed
        return answer(CONTRIBUTE, "elm")

    file.write_text(json.dumps({"address": "127.0.0.1:1", "token": "old", "pid": 1}))
    with fake_edge_service(tmp_path / "aside.json", restart) as service:

        def come_back() -> None:
            file.write_text((tmp_path / "aside.json").read_text())

        service.after(0.7, come_back)
        sent = plan_records(PLAN, RELEASE, site_id="elm")
        assert read_update(ask(CONTRIBUTE, sent, served).content).site_id == "elm"
    assert len(calls) == 2


def test_the_couriers_patience_ends(tmp_path: Path, served: Context) -> None:
    sent = plan_records(replace(PLAN, deadline_s=0.1), RELEASE, site_id="elm")
    assert said(ask(CONTRIBUTE, sent, served)) == "the site failed: EdgeServiceAway"
    elsewhere = {"address": "192.0.2.1:50071", "token": "t", "pid": 1}
    (tmp_path / "edge.json").write_text(json.dumps(elsewhere))
    assert said(ask(CONTRIBUTE, sent, served)) == "the site failed: SettingsError"


def test_the_courier_imports_no_torch(tmp_path: Path) -> None:
    """Neither when it is imported nor when it has carried a message."""
    file = tmp_path / "edge.json"
    code = f"""
import sys
from pathlib import Path
from uuid import uuid4
import clients.learning.flower_app as courier
heavy = {{"torch", "transformers", "peft", "ray"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from fl.flower_records import plan_records, read_update
from fl.rounds import RoundPlan
from tests.fl.releases import signed
TaskIdentity.task_id = TaskIdentity.run_id = TaskIdentity.node_id = 1
sent = plan_records({PLAN!r}, signed(1, number=0), site_id="elm")
message = Message(sent, dst_node_id=7, message_type="train")
message.metadata.__dict__["_message_id"] = uuid4().hex
node = {{"site": "elm", "edge": {str(file)!r}}}
where = Context(run_id=1, node_id=7, node_config=node, state=RecordDict(), run_config={{}})
reply = courier.app(message, where)
assert read_update(reply.content).site_id == "elm"
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    with fake_edge_service(file, lambda _: answer(CONTRIBUTE, "elm")) as service:
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    assert len(service.received) == 1
