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
from server.federation.round_log import is_complete, newest_federation, read_status
from server.federation.strategy import STOPPED
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
    # answers that run get service.drain_s seconds
    stop_s = settings.service.drain_s + 2
    with lock(groups):
        newest = None if new else newest_federation(settings.federations_dir)
        done = newest is not None and is_complete(read_status(newest), settings.rounds)
        folder = newest or federation_folder(settings)
        follower = Follower(
            folder.parent, rounds=settings.rounds, sites=len(sites), console=console
        )
        try:
            with ProcessGroup(folder=groups, logs=logs, stop_s=stop_s) as group:
                cloud = Cloud(settings, group, config=config, overrides=overrides, say=say)
                service = settings.service
                cloud.start(gate=True, service_address=service.address, http=service.http)
                say(f"sites connect to {settings.cloud.fleet}; logs: {logs}")
                if not done:
                    with follower:
                        cloud.carry_out(folder.name, follower)
                    _require_completed(folder, logs)
                say(f"federation {folder.name} is complete; serving its releases until Ctrl-C")
                while True:
                    cloud.look_after()
                    time.sleep(_POLL_S)
        finally:
            # last, when the ServerApp can no longer say otherwise
            follower.close(STOPPED)


def _require_completed(folder: Path, logs: Path) -> None:
    status = read_status(folder)
    if status is None or status.state != "completed":
        why = status.message if status else "its run never began."
        raise FederationError(f"Federation {folder.name} did not complete: {why} Logs: {logs}")
