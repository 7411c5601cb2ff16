"""Seconds a round of a deployment: the courier with edge services, against Flower's default.

Flower starts a new Python process for every message. By default that process would import torch,
load the model and train; here it only carries the plan to the site's edge service.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from rich.console import Console

from fl.errors import FederationError
from fl.flower_command import flower_environment, free_port, installed
from fl.process_group import ProcessGroup
from fl.rounds import RoundReport
from fl.settings import Settings, load
from fl.site_list import federated_sites, site_folder
from server.deployment.cloud import Cloud
from server.deployment.federate import federate
from server.federation.flower_app import federation_folder
from server.federation.follower import Follower
from server.federation.readiness import require_model
from server.federation.round_log import RoundLog, read_status
from server.keys import make_cloud_keys, make_site_keys

CONFIG = "configs/embedded.yaml"


@dataclass(frozen=True, kw_only=True)
class FederationRun:
    """Mean seconds of the rounds after the first."""

    way: str
    rounds: int
    first_round: float
    seconds: float
    training: float  # of the slowest site
    transport: float
    aggregation: float
    heldout_loss: float  # after the last round; both ways must agree


def measure(*, sites: int, rounds: int, on_run: Callable[[str], None]) -> list[FederationRun]:
    """The same federation both ways. Needs the edge model; raises FederationError."""
    runs = []
    for way, carry_out in (("edge service", _with_services), ("in the ClientApp", _without)):
        on_run(f"{sites} sites, {rounds} rounds, training: {way}")
        overrides = [
            *(f"name=bench-{way.split()[0]}", f"sites={sites}", f"rounds={rounds}"),
            *("cloud.model=none", f"threads={max(1, (os.cpu_count() or 1) // sites)}"),
        ]
        settings = load(overrides, config=CONFIG)
        require_model(settings)
        books = [sys.executable, "-m", "clients", "books", *overrides]
        subprocess.run(books, check=True, stdout=subprocess.DEVNULL)
        runs.append(_summary(way, carry_out(settings, overrides)))
    return runs


def _with_services(settings: Settings, overrides: list[str]) -> tuple[RoundReport, ...]:
    quiet = Console(quiet=True)
    folder = federate(settings, config=CONFIG, overrides=overrides, console=quiet)
    return RoundLog(folder).reports()


def _without(settings: Settings, overrides: list[str]) -> tuple[RoundReport, ...]:
    """SuperNodes whose node config names no edge service: the ClientApp trains by itself."""
    sites, quiet = federated_sites(settings), Console(quiet=True)
    keys, groups = settings.keys_dir, settings.run_dir / "flower"
    folder = federation_folder(settings)
    logs = settings.var_dir / "logs" / "bench-federation"
    follower = Follower(folder.parent, rounds=settings.rounds, sites=len(sites), console=quiet)
    make_cloud_keys(keys)
    bundles = {site.id: make_site_keys(keys, site.id) for site in sites}
    with follower, ProcessGroup(folder=groups, logs=logs) as group:
        cloud = Cloud(settings, group, config=CONFIG, overrides=overrides, say=quiet.print)
        cloud.start(gate=False, service_address=f"127.0.0.1:{free_port()}")
        for site_id, bundle in bundles.items():
            command = installed(
                "flower-supernode",
                *("--superlink", f"127.0.0.1:{cloud.superlink.port}"),
                *("--root-certificates", str(bundle / "ca.crt")),
                *("--auth-supernode-private-key", str(bundle / "site.ssh")),
                *("--host", "127.0.0.1", "--port", str(free_port())),
                *("--node-config", f'site="{site_id}"'),
            )
            home = site_folder(settings, site_id) / "flower"
            group.start(f"supernode-{site_id}", command, flower_environment(home))
        cloud.carry_out(folder.name, follower)
    status = read_status(folder)
    if status is None or status.state != "completed":
        raise FederationError(f"The run did not complete: {status}. Logs: {logs}")
    return RoundLog(folder).reports()


def _summary(way: str, reports: tuple[RoundReport, ...]) -> FederationRun:
    later = reports[1:]
    return FederationRun(
        way=way,
        rounds=len(reports),
        first_round=reports[0].seconds,
        seconds=_mean([r.seconds for r in later]),
        training=_mean([r.training_seconds for r in later]),
        transport=_mean([r.transport_seconds for r in later]),
        aggregation=_mean([r.aggregation_seconds for r in later]),
        heldout_loss=reports[-1].mean_heldout_loss,
    )


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
