"""The deployment a trace is played against: a cloud with workers, a link a cell, services of sites.

All of it on this machine, in a folder of its own, so that nobody's ledger and shelf are touched.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace

from clients.asking.cloud_channel import CloudChannel
from clients.edge_service.asking_client import AskingClient, living_service
from clients.orchestrate.staging import ADVERT_S, MEASURE_S
from clients.orchestration.cloud_desk import CloudDesk
from fl import durable
from fl.errors import FederationError, GenerationError
from fl.link.profiles import profile
from fl.link.relay import Relay
from fl.process_group import ProcessGroup, children, end_orphans
from fl.settings import Settings, as_file, home
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

        def all_work() -> bool:
            with suppress(GenerationError):  # it is asked again
                return all(one.alive for one in self.desk.show().workers)
            return False

        _until(all_work, "cloud", self.group)

    def kill_a_worker(self) -> None:
        """SIGKILL one of the cloud's worker processes, which all run."""
        found = children(self.group.pid("cloud"), "--tethered")
        if not found:
            raise FederationError(
                f"No worker of the cloud was there to be killed: {self.group.last_words('cloud')}"
            )
        os.kill(found[0], signal.SIGKILL)


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
        closing.callback(shutil.rmtree, world.var_dir, ignore_errors=True)
        logs = settings.var_dir / "logs" / "orchestrate"
        shutil.rmtree(logs, ignore_errors=True)
        group = closing.enter_context(
            ProcessGroup(folder=world.run_dir / "processes", logs=logs, stop_s=15.0)
        )
        _start(group, "cloud", ("server", "serve"), _of_the_cloud(world, admission))
        address = _cloud_address(world, group)
        relays = [
            closing.enter_context(Relay(address, profile(its.links[0]), seed=settings.seed + cell))
            for cell in sorted(set(cell_of))
        ]
        for site, cell in zip(sites, cell_of, strict=True):
            own = _of_a_site(world, site.id, cloud=relays[cell].address, cell=f"cell-{cell}")
            _start(group, site.id, ("clients", "edge"), own)
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
    """A fresh folder with copies of what these sites serve with; models are linked."""
    folder = settings.run_dir / WORLD
    end_orphans(replace(settings, var=str(folder)).run_dir / "processes")  # of one that was killed
    shutil.rmtree(folder, ignore_errors=True)
    world = replace(settings, var=str(folder), keys=str(settings.keys_dir))
    for site in sites:
        source = settings.run_dir / "sites" / site.id
        if not (source / "shelf").is_dir():
            raise FederationError(
                f"{source} holds no shelf: the sites must have been federated. "
                "Run ./run.sh simulate, with the same settings."
            )
        copy = world.run_dir / "sites" / site.id
        shutil.copytree(source / "shelf", copy / "shelf")  # nobody's texts, nobody's profiles
        with suppress(FileNotFoundError):  # a place that says nothing of itself
            shutil.copyfile(source / "place.json", copy / "place.json")
    if (models := settings.var_dir / "foundation").is_dir():
        (folder / models.name).symlink_to(models.resolve())
    return world


def _of_the_cloud(world: Settings, admission: str) -> Settings:
    its = world.orchestrate
    return replace(
        world,
        threads=its.workers,  # one each
        service=replace(world.service, address="127.0.0.1:0", http="none", folder="", api_keys=""),
        engine=replace(
            world.engine,
            kind="workers",
            workers=its.workers,
            batch=its.rows,
            least_step_ms=its.worker_step_ms,
            least_row_ms=its.worker_row_ms,
        ),
        orchestration=replace(
            world.orchestration,
            admission=admission,
            step_ms=its.worker_step_ms,
            row_ms=its.worker_row_ms,
        ),
    )


def _of_a_site(world: Settings, site_id: str, *, cloud: str, cell: str) -> Settings:
    its = world.orchestrate
    return replace(
        world,
        threads=1,
        site=replace(world.site, id=site_id, cloud=cloud, keys=""),
        edge=replace(
            world.edge, address="127.0.0.1:0", http="none", hosts=[], least_step_ms=its.edge_step_ms
        ),
        link=replace(world.link, profile="none"),  # it is the cell's
        routing=replace(world.routing, measure_s=MEASURE_S),
        orchestration=replace(
            world.orchestration, cell=cell, advert_s=ADVERT_S, step_ms=its.edge_step_ms, row_ms=0.5
        ),
    )


def _start(group: ProcessGroup, name: str, verb: tuple[str, str], settings: Settings) -> None:
    file = group.folder / f"{name}.json"
    durable.publish(file, as_file(settings), mode=0o600)
    environment = {k: v for k, v in os.environ.items() if not k.endswith("_KEYS")}
    environment |= {"NETGPT_HOME": str(home()), "OMP_NUM_THREADS": "1"}
    group.start(name, [sys.executable, "-m", *verb, f"config={file}"], environment)


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
