"""What a run of a federation works with. What it has reached stands on the disk, nowhere else."""

import math
from dataclasses import dataclass
from pathlib import Path

from flwr.serverapp import Grid

from fl.aggregation.robust import updates_needed
from fl.release import AdapterRelease
from fl.settings import Settings, resolve
from fl.signing import signing_key
from fl.site_list import federated_sites
from fl.tasks import COMPLETE
from server.federation.exchange import Exchange
from server.federation.gate import Gate
from server.federation.progress import Progress
from server.federation.roll_call import RollCall
from server.federation.round_log import RoundLog
from server.federation.stragglers import Stragglers
from server.federation.tensorboard import Sink, open_sink
from server.federation.verdicts import Verdicts
from server.releases import Releases


@dataclass(frozen=True, kw_only=True)
class Federation:
    """The parts of a run, made once."""

    settings: Settings
    sites: tuple[str, ...]
    roll_call: RollCall
    exchange: Exchange
    stragglers: Stragglers
    releases: Releases
    verdicts: Verdicts
    gate: Gate
    optimizer_folder: Path
    log: RoundLog
    progress: Progress
    sink: Sink | None  # TensorBoard, where the settings name a folder

    @property
    def quorum(self) -> int:
        """How many admitted updates a release needs; a robust rule may need more than was asked."""
        federation = self.settings.federation
        asked = math.ceil(federation.quorum * len(self.sites))
        return max(1, asked, updates_needed(federation.robust, federation.robust_bad))

    def candidate(self) -> AdapterRelease | None:
        """The release that waits for its verdict; None also where an operator made it current."""
        candidate = self.releases.candidate()
        if candidate is None or candidate.number == self.releases.current_number():
            return None
        return candidate

    def newest(self) -> AdapterRelease:
        """The release of the last round that was finished."""
        newest = self.releases.newest()
        assert newest is not None, "a run begins with release 0"
        return newest

    def show_releases(self) -> None:
        """Tell in the status what the aliases name."""
        aliases = self.releases.aliases
        self.progress.releases(current=aliases.read("current"), candidate=aliases.read("candidate"))


def open_federation(grid: Grid, settings: Settings, *, folder: Path, run_id: str) -> Federation:
    """Put the parts together. From here on the status says that this run works on `folder`."""
    sink = open_sink(tensorboard_folder(settings, folder))  # may refuse: before anything is said
    sites = tuple(site.id for site in federated_sites(settings))
    log = RoundLog(folder)
    progress = Progress(log, run_id=run_id, rounds=settings.rounds, sites=len(sites))
    releases = Releases(
        folder / "releases",
        federation=folder.name,
        key=signing_key(settings),
        task=settings.task,
    )
    verdicts = Verdicts(folder)
    roll_call = RollCall(grid, sites)
    return Federation(
        settings=settings,
        sites=sites,
        roll_call=roll_call,
        exchange=Exchange(grid, roll_call),
        stragglers=Stragglers(settings.federation, kept_back=verdicts.refused),
        releases=releases,
        verdicts=verdicts,
        gate=Gate(releases, verdicts, tolerance=settings.federation.gate_tolerance),
        optimizer_folder=folder / "optimizer",
        log=log,
        progress=progress,
        sink=sink,
    )


def tensorboard_folder(settings: Settings, folder: Path) -> Path | None:
    """Where TensorBoard's files of a federation go: a folder each, so that they can be compared."""
    if not settings.federation.tensorboard:
        return None
    task = "" if settings.task == COMPLETE else f"{settings.task}-"
    return resolve(settings.federation.tensorboard) / f"{settings.run_dir.name}-{task}{folder.name}"
