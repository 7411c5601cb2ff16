"""The deployment a trace is played against: a cloud with workers, a link a cell, services of sites.

All of it on this machine, in a folder of its own, so that nobody's ledger and shelf are touched.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace

from clients.asking.cloud_channel import CloudChannel
from clients.edge_service.asking_client import AskingClient, living_service
from clients.orchestrate.staging import ADVERT_S, MEASURE_S
from clients.orchestration.cloud_desk import CloudDesk
from fl.errors import FederationError
from fl.link.profiles import profile
from fl.link.relay import Relay
from fl.process_group import ProcessGroup, children, end_orphans
from fl.settings import Settings
from fl.site import Site

READY_S = 180.0  # for services to load their models, beside each other
WORLD = "orchestrate/world"  # below the run folder


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """Everything that runs."""

    settings: Settings  # with the folder of its own
    sites: Sequence[Site]
    clients: Sequence[AskingClient]  # by site
    relays: Sequence[Relay]  # by cell
    desk: CloudDesk
    group: ProcessGroup

    def wait_until_all_work(self) -> None:
        """Until every worker of the cloud is up. Raises FederationError where one stays away."""
        _until(lambda: all(one.alive for one in self.desk.show().workers), "cloud", self.group)

    def kill_a_worker(self) -> None:
        """SIGKILL one of the cloud's worker processes, which all run."""
        worker, *_ = children(self.group.pid("cloud"), "--tethered")
        os.kill(worker, signal.SIGKILL)


@contextmanager
def deployed(
    settings: Settings,
    sites: Sequence[Site],
    cell_of: Sequence[int],
    *,
    admission: str,
) -> Iterator[Deployed]:
    """All processes for the block. Raises FederationError where one does not become ready."""
    world, its = _world(settings, sites), settings.orchestrate
    with ExitStack() as closing:
        logs = settings.var_dir / "logs" / "orchestrate"
        shutil.rmtree(logs, ignore_errors=True)
        group = closing.enter_context(
            ProcessGroup(folder=world.run_dir / "processes", logs=logs, stop_s=15.0)
        )
        common = [f"var={world.var}", f"name={settings.name}", f"seed={settings.seed}", "threads=1"]
        group.start(
            "cloud",
            [
                *(sys.executable, "-m", "server", "serve", *common),
                *("service.address=127.0.0.1:0", "service.http=none"),
                *("engine.kind=workers", f"engine.workers={its.workers}"),
                *(f"engine.batch={its.rows}", f"engine.least_step_ms={its.worker_step_ms}"),
                f"engine.least_row_ms={its.worker_row_ms}",
                *(f"orchestration.step_ms={its.worker_step_ms}",),
                *(f"orchestration.row_ms={its.worker_row_ms}",),
                f"orchestration.admission={admission}",
            ],
            _environment(),
        )
        address = _cloud_address(world, group)
        relays = [
            closing.enter_context(Relay(address, profile(its.links[0]), seed=settings.seed + cell))
            for cell in sorted(set(cell_of))
        ]
        for site, cell in zip(sites, cell_of, strict=True):
            group.start(
                site.id,
                [
                    *(sys.executable, "-m", "clients", "edge", *common),
                    *(f"site.id={site.id}", f"site.cloud={relays[cell].address}"),
                    *("edge.http=none", f"orchestration.cell=cell-{cell}"),
                    *(f"orchestration.advert_s={ADVERT_S}", f"routing.measure_s={MEASURE_S}"),
                    f"edge.least_step_ms={its.edge_step_ms}",
                    *(f"orchestration.step_ms={its.edge_step_ms}", "orchestration.row_ms=0.5"),
                ],
                _environment(),
            )
        clients = [closing.enter_context(_client(world, site.id, group)) for site in sites]
        channel = closing.enter_context(CloudChannel(address, settings.asking.timeout_s))
        yield Deployed(
            settings=world,
            sites=sites,
            clients=clients,
            relays=relays,
            desk=CloudDesk(channel),
            group=group,
        )


def _world(settings: Settings, sites: Sequence[Site]) -> Settings:
    """A fresh folder with copies of these sites; models and the cloud's keys are linked."""
    home = settings.run_dir / WORLD
    end_orphans(replace(settings, var=str(home)).run_dir / "processes")  # of one that was killed
    shutil.rmtree(home, ignore_errors=True)
    world = replace(settings, var=str(home))
    for site in sites:
        source = settings.run_dir / "sites" / site.id
        if not (source / "shelf").is_dir():
            raise FederationError(
                f"{source} holds no shelf: the sites must have been federated. "
                "Run ./run.sh simulate, with the same settings."
            )
        shutil.copytree(
            source,
            world.run_dir / "sites" / site.id,
            ignore=shutil.ignore_patterns("flower", "processes", "edge.json", "ledger.jsonl"),
        )
    for name in ("foundation", "pki"):
        if (settings.var_dir / name).is_dir():
            (home / name).symlink_to((settings.var_dir / name).resolve())
    return world


def _environment() -> Mapping[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def _cloud_address(world: Settings, group: ProcessGroup) -> str:
    file = world.run_dir / "service.address"
    _until(lambda: file.is_file(), "cloud", group)
    return file.read_text().strip()


@contextmanager
def _client(world: Settings, site_id: str, group: ProcessGroup) -> Iterator[AskingClient]:
    found: list[AskingClient] = []

    def there() -> bool:
        client = living_service(world, site_id)
        if client is not None:
            found.append(client)
        return client is not None

    _until(there, site_id, group)
    with found[0] as client:
        yield client


def _until(there: Callable[[], bool], name: str, group: ProcessGroup) -> None:
    until = time.monotonic() + READY_S
    while not there():
        if not group.alive(name) or time.monotonic() > until:
            raise FederationError(
                f"{name} did not become ready: {group.last_words(name)} "
                f"({group.log_file(name)} has more)."
            )
        time.sleep(0.2)
