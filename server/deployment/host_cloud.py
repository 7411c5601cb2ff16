"""The verb `cloud`: the cloud's side on its own host, until Ctrl-C.

    keys -> SuperLink, fleet gate, cloud service -> the rounds that are missing -> go on serving

Started again, for instance after a reboot, it goes on with the federation that did not complete;
one that did is only served.
"""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fl.errors import FederationError, SettingsError
from fl.process_group import ProcessGroup
from fl.settings import Settings
from fl.site_list import federated_sites
from fl.wire.address import is_wildcard, split_address
from server.deployment.cloud import Cloud
from server.federation.flower_app import federation_folder
from server.federation.follower import Follower
from server.federation.readiness import require_model
from server.federation.round_log import RunStatus, read_status
from server.keys import make_cloud_keys
from server.release_lock import lock

_POLL_S = 0.5


def host_cloud(
    settings: Settings,
    *,
    config: str,
    overrides: Sequence[str],
    console: Console,
    new: bool = False,
) -> None:
    """Carry out what is missing and serve until KeyboardInterrupt.

    `new` begins another federation. Raises FederationError when the rounds failed.
    """
    require_model(settings)
    sites = federated_sites(settings)
    keys = settings.keys_dir
    hosts = {split_address(a)[0] for a in (settings.cloud.fleet, settings.service.address)}
    make_cloud_keys(keys, hosts=sorted(h for h in hosts if not is_wildcard(h)))
    if missing := [s.id for s in sites if not (keys / "sites" / s.id / "site.pub").is_file()]:
        raise SettingsError(
            f"There is no key yet for {', '.join(missing)}. Make them with "
            f"./run.sh keys {' '.join(missing)} and copy each site's folder to its host."
        )

    def say(text: str) -> None:
        console.print(f"  {text}", highlight=False, soft_wrap=True)

    logs = settings.var_dir / "logs" / f"cloud-{time.strftime('%Y%m%d-%H%M%S')}"
    groups = settings.run_dir / "flower"
    groups.mkdir(parents=True, exist_ok=True)
    with lock(groups), ProcessGroup(folder=groups, logs=logs) as group:
        cloud = Cloud(settings, group, config=config, overrides=overrides, say=say)
        cloud.start(gate=True, service_address=settings.service.address)
        say(f"sites connect to {settings.cloud.fleet}; logs: {logs}")
        folder = None if new else _newest(settings)
        status = read_status(folder) if folder else None
        if folder is None or not _is_done(status, settings):
            folder = folder or federation_folder(settings)
            follower = Follower(
                folder.parent, rounds=settings.rounds, sites=len(sites), console=console
            )
            try:
                with follower:
                    cloud.carry_out(folder.name, follower)
            finally:
                follower.close("it was stopped before its end")
            status = read_status(folder)
            if status is None or status.state != "completed":
                raise FederationError(
                    f"Federation {folder.name} did not complete: "
                    f"{status.message if status else 'its run never began.'} Logs: {logs}"
                )
        say(f"federation {folder.name} is complete; serving its releases until Ctrl-C")
        while True:
            cloud.look_after()
            time.sleep(_POLL_S)


def _newest(settings: Settings) -> Path | None:
    folders = (settings.run_dir / "federations").glob("[0-9]*")
    return max(folders, key=lambda folder: int(folder.name), default=None)


def _is_done(status: RunStatus | None, settings: Settings) -> bool:
    return (
        status is not None and status.state == "completed" and status.rounds_done >= settings.rounds
    )
