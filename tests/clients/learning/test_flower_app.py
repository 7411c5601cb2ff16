"""The courier: what it hosts, what it carries, and what it never says."""

import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import uuid4

import pytest
from flwr.app import Context, Message, RecordDict

from clients.learning.flower_app import FAILURE_FILE, app
from fl.errors import BookError
from fl.flower_records import (
    CONTRIBUTE,
    ROLL_CALL,
    SETTLE,
    plan_records,
    read_delivery,
    read_failure,
    read_roll_call,
    read_update,
    roll_call_records,
)
from fl.rounds import RoundPlan
from fl.settings import Settings
from fl.site import Site
from fl.site_list import federated_sites, site_folder
from tests.fl.adapters import drawn, update

PLAN = RoundPlan(
    federation="001",
    round_number=1,
    release_number=0,
    learning_rate=0.1,
    local_steps=1,
    batch_tokens=64,
    clip_norm=1.0,
    seed=0,
    deadline_s=5,
)
SECRET = "take me to the clinic"


def context(tmp_path: Path, **node_config: int | str) -> Context:
    run_config: dict[str, bool | float | int | str] = {"overrides": f"var={tmp_path} sites=3"}
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


def settings_of(where: Context) -> Settings:
    from fl.flower_records import run_settings

    return run_settings(where.run_config)


def test_importing_the_courier_imports_no_torch() -> None:
    code = (
        "import sys, clients.learning.flower_app\n"
        "heavy = {'torch', 'transformers', 'peft', 'ray'} & set(sys.modules)\n"
        "sys.exit(f'imported {sorted(heavy)}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_node_hosts_every_nth_site_or_the_one_it_is_configured_for(tmp_path: Path) -> None:
    first = context(tmp_path, **{"partition-id": 0, "num-partitions": 2})
    sites = [site.id for site in federated_sites(settings_of(first))]
    second = context(tmp_path, **{"partition-id": 1, "num-partitions": 2})
    named = context(tmp_path, site=sites[2])
    stranger = context(tmp_path, site="nowhere")
    for where, expected in ((first, sites[::2]), (second, sites[1::2]), (named, sites[2:])):
        reply = ask(ROLL_CALL, roll_call_records(), where)
        assert read_roll_call(reply.content) == tuple(expected)
    assert read_roll_call(ask(ROLL_CALL, roll_call_records(), stranger).content) == ()


class FakeLearning(ModuleType):
    """Stands for clients.learning.contribution: what crosses the border is all that counts here."""

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__("clients.learning.contribution")
        self.failure = failure
        self.threads: list[int] = []

    def open_edge_site(self, settings: Settings, site: Site, federation: str) -> Site:
        self.threads.append(settings.threads)
        if self.failure:
            raise self.failure
        return site

    def contribute(self, plan: RoundPlan, release: Any, edge_site: Site) -> Any:
        return update(release, site_id=edge_site.id)

    def settle(self, plan: RoundPlan, release: Any, edge_site: Site) -> Any:
        self.shared_heldout_loss, self.settled_heldout_loss, self.seconds = 2.0, 1.5, 0.1
        return self


def test_updates_and_deliveries_are_carried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learning = FakeLearning()
    monkeypatch.setitem(sys.modules, "clients.learning.contribution", learning)
    where = context(tmp_path, **{"partition-id": 0, "num-partitions": 1})
    site = federated_sites(settings_of(where))[1].id
    sent = plan_records(PLAN, drawn(1), site_id=site)
    assert read_update(ask(CONTRIBUTE, sent, where).content).site_id == site
    assert read_delivery(ask(SETTLE, sent, where).content).site_id == site
    assert learning.threads == [1, 1]  # sites of a simulation share the cores


@pytest.mark.parametrize(
    ("failure", "kept"),
    [
        (KeyError(SECRET), "KeyError: (text left out)"),
        (BookError("book.jsonl, line 3: no completion"), "BookError: book.jsonl, line 3"),
    ],
)
def test_a_failure_leaves_the_site_as_a_type_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, kept: str
) -> None:
    monkeypatch.setitem(sys.modules, "clients.learning.contribution", FakeLearning(failure))
    where = context(tmp_path, **{"partition-id": 0, "num-partitions": 1})
    settings = settings_of(where)
    site = federated_sites(settings)[0].id
    reply = ask(CONTRIBUTE, plan_records(PLAN, drawn(1), site_id=site), where)
    assert reply.has_error()
    assert reply.error.reason == type(failure).__name__
    said = read_failure(code=reply.error.code, reason=reply.error.reason)
    assert said == f"the site failed: {type(failure).__name__}"
    details = (site_folder(settings, site) / FAILURE_FILE).read_text()
    assert kept in details
    assert "open_edge_site" in details  # where it happened
    assert SECRET not in details


def test_a_plan_for_somebody_else_is_an_error(tmp_path: Path) -> None:
    where = context(tmp_path, **{"partition-id": 0, "num-partitions": 1})
    reply = ask(CONTRIBUTE, plan_records(PLAN, drawn(1), site_id="nowhere"), where)
    assert reply.error.reason == "FederationError"
