"""The `simulate` verb: a whole federation on this machine, watched and ended truthfully.

It starts a SuperLink, submits this project as a Flower app, follows what the ServerApp writes, and
asks Flower how the run really ended: `flwr run` says success once a run is submitted, whatever
becomes of it.
"""

import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fl.errors import FederationError
from fl.flower_command import free_port
from fl.process_group import ProcessGroup, end_orphans
from fl.run_config import join_overrides
from fl.settings import Settings, home
from fl.site_list import federated_sites
from server.federation.follower import Follower
from server.federation.readiness import require_ready
from server.federation.strategy import STOPPED
from server.federation.superlink import SuperLink

_COMPLETED = "finished:completed"
_POLL_S = 0.1
_FINISH_POLL_S = 0.5  # every question starts a `flwr` process, on the cores that are to finish
_ASK_FLOWER_S = 15.0  # how often Flower is asked while the ServerApp has not said that it ended
_FINISH_S = 60.0  # for Flower to stop Ray and note the end, after the ServerApp ended
_RAY_NOTE = "ray-folder"  # in the group's folder: where Ray wrote


def simulate(
    settings: Settings,
    *,
    config: str,
    overrides: Sequence[str],
    console: Console,
    federation: str = "",
) -> Path:
    """Carry out a federation and return its folder.

    `settings` are what `config` and `overrides` make; the run's processes read them once more.
    `federation` names an unfinished one to go on with. Raises FederationError when the run did not
    complete. However this ends, nothing it started is left running.
    """
    # 1. Is everything there? It takes no Flower to find out.
    require_ready(settings)
    sites = len(federated_sites(settings))
    logs = settings.var_dir / "logs" / f"simulate-{time.strftime('%Y%m%d-%H%M%S')}"
    groups = settings.var_dir / "flwr"
    end_orphans(groups, clean=_remove_ray_folder)
    follower = Follower(
        settings.federations_dir, rounds=settings.rounds, sites=sites, console=console
    )
    # Ray's sockets need a short path, so its folder cannot lie in ours.
    ray_folder = tempfile.mkdtemp(prefix="netgpt-ray-")
    try:
        with follower, ProcessGroup(folder=groups, logs=logs) as group:
            (group.folder / _RAY_NOTE).write_text(ray_folder)
            superlink = SuperLink(
                group,
                home=group.folder,
                port=free_port(),
                arguments=("--simulation", "--insecure"),
                environment={"RAY_TMPDIR": ray_folder},
            )
            superlink.start()
            # 2. Submit.
            workers = min(settings.workers, sites)
            run_id = superlink.submit(
                home(),
                {
                    "config": config,
                    "overrides": join_overrides(overrides),
                    "federation": federation,
                },
                shape=f"num-supernodes={sites} client-resources-num-cpus=1 "
                f"init-args-num-cpus={workers}",
            )
            # 3. Follow until the ServerApp has ended, or Flower says that it is gone.
            follower.follow(run_id)
            asked = time.monotonic()
            while not follower.ended():
                time.sleep(_POLL_S)
                if time.monotonic() - asked > _ASK_FLOWER_S:
                    if superlink.state(run_id).startswith("finished"):
                        follower.ended()
                        break
                    asked = time.monotonic()
            # 4. How did it end? Both must say so.
            state = _final_state(superlink, run_id)
            if state != _COMPLETED:
                superlink.keep_log(run_id)
    finally:
        shutil.rmtree(ray_folder, ignore_errors=True)
        follower.close(STOPPED)
    status = follower.status
    if status is None or status.state != "completed" or state != _COMPLETED:
        why = status.message if status and status.message else f"Flower's state of it is {state}"
        raise FederationError(f"The simulation did not complete: {why} Logs: {logs}")
    if status.message:
        console.print(f"  [yellow]{status.message}[/]")
    assert follower.folder is not None
    return follower.folder


def _final_state(superlink: SuperLink, run_id: str) -> str:
    until = time.monotonic() + _FINISH_S
    while True:
        state = superlink.state(run_id)
        if state.startswith("finished") or time.monotonic() > until:
            return state
        time.sleep(_FINISH_POLL_S)


def _remove_ray_folder(group_folder: Path) -> None:
    """What a killed simulation left in the system's folder for temporary files."""
    if (note := group_folder / _RAY_NOTE).is_file():
        shutil.rmtree(note.read_text(), ignore_errors=True)
