"""SIGKILL of every process at every bad moment, for real: the federation ends with the same bytes.

Each test runs a whole deployment (SuperLink with TLS, two sites with edge service and SuperNode)
and compares releases, aliases and verdicts, byte for byte, with those of a run that was left alone.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.deployed import Deployed, federate, pause_at, published

pytestmark = pytest.mark.slow

ROUNDS = ("rounds=3", "learning.local_steps=60", "federation.server_optimizer=adam")


@pytest.fixture(scope="module")
def rounds(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Settings of all runs here; one cloud's keys, so that signatures can be compared too."""
    return (*ROUNDS, f"keys={tmp_path_factory.mktemp('cloud') / 'pki'}")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, rounds: tuple[str, ...]) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("unbroken")
    with federate(folder, *rounds) as deployed:
        assert deployed.finish() == 0, deployed.output
        return published(deployed.folder)


def superlink_before_round_1(d: Deployed) -> None:
    d.until(lambda: d.processes("flower-superlink"))
    d.until(lambda: d.processes("flower-supernode"))
    d.kill("flower-superlink")


def superlink_mid_round(d: Deployed) -> None:
    d.until_training(2, "elm")
    d.kill("flower-superlink")


def superlink_after_the_last_round(d: Deployed) -> None:
    d.until(lambda: (d.folder / "releases" / "3").is_dir())
    d.kill("flower-superlink")


def edge_service_mid_training(d: Deployed) -> None:
    d.until_training(2, "elm")
    d.kill("clients edge", "site.id=elm")


def supernode_mid_round(d: Deployed) -> None:
    d.until_training(2, "elm")
    d.kill("flower-supernode", "elm")


def server_app(d: Deployed) -> None:
    d.until_training(2, "ash")
    d.kill("flwr-serverapp")


def cloud_service(d: Deployed) -> None:
    d.until_training(2, "ash")
    d.kill("server serve")


def whole_site(d: Deployed) -> None:
    d.until_training(2, "elm")
    d.kill("site.id=elm")


FAULTS = (
    superlink_before_round_1,
    superlink_mid_round,
    superlink_after_the_last_round,
    edge_service_mid_training,
    supernode_mid_round,
    server_app,
    cloud_service,
    whole_site,
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_what_is_killed_comes_back_and_nothing_is_lost(
    tmp_path: Path,
    rounds: tuple[str, ...],
    unbroken: dict[str, bytes],
    fault: Callable[[Deployed], None],
) -> None:
    with federate(tmp_path, *rounds) as deployed:
        fault(deployed)
        assert deployed.finish() == 0, deployed.output
        assert "was killed" in deployed.said
        status = deployed.status
        assert status is not None
        assert status.state == "completed"
        assert published(deployed.folder) == unbroken
    assert deployed.processes() == []


def test_the_superlink_is_killed_between_aggregate_and_publish(
    tmp_path: Path, rounds: tuple[str, ...], unbroken: dict[str, bytes]
) -> None:
    """The ServerApp stops at the door of the second round's publication, then all its host dies."""
    flag = tmp_path / "flag"
    stopped = pause_at("server.releases:Releases.publish", 3, flag)  # 1st: release 0
    with federate(tmp_path, *rounds, environment=stopped) as deployed:
        deployed.until(flag.exists)
        assert not (deployed.folder / "releases" / "2").exists()
        deployed.kill("flower-superlink")
        assert deployed.finish() == 0, deployed.output
        assert published(deployed.folder) == unbroken


def test_all_at_once_and_resume(
    tmp_path: Path, rounds: tuple[str, ...], unbroken: dict[str, bytes]
) -> None:
    with federate(tmp_path, *rounds) as deployed:
        deployed.until_training(2, "ash")
        deployed.sigkill_all()
        status = deployed.status
        assert status is not None
        assert status.state == "running"  # nobody was left to say otherwise
    with federate(tmp_path, *rounds, "--resume") as deployed:
        assert deployed.finish() == 0, deployed.output
        assert published(deployed.folder) == unbroken
    assert not (deployed.settings.run_dir / "federations" / "002").exists()
