"""The verb `federate`: a whole deployment on this host, carried out and ended truthfully.

    keys -> SuperLink, cloud service -> per site an edge service and a SuperNode -> rounds -> stop

The same processes as on real hosts, each site's started by the same verb `site`.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from fl.errors import FederationError
from fl.flower_command import free_port
from fl.process_group import ProcessGroup
from fl.settings import Settings
from fl.site_list import federated_sites
from server.deployment.cloud import Cloud
from server.federation.flower_app import federation_folder
from server.federation.follower import Follower
from server.federation.readiness import require_books, require_model
from server.federation.round_log import is_complete, newest_federation, read_status
from server.federation.strategy import STOPPED
from server.keys import make_cloud_keys, make_site_keys
from server.release_lock import lock


def federate(
    settings: Settings,
    *,
    config: str,
    overrides: Sequence[str],
    console: Console,
    resume: bool = False,
) -> Path:
    """Carry out a federation with real processes and return its folder.

    `resume` goes on with the newest one that did not complete. Raises FederationError when it did
    not complete. However this ends, nothing it started is left running.
    """
    require_model(settings)
    require_books(settings)
    sites = federated_sites(settings)

    def say(text: str) -> None:
        console.print(f"  {text}", highlight=False, soft_wrap=True)

    logs = settings.var_dir / "logs" / f"federate-{time.strftime('%Y%m%d-%H%M%S')}"
    groups = settings.run_dir / "flower"
    groups.mkdir(parents=True, exist_ok=True)
    with lock(groups):
        folder = unfinished(settings) if resume else federation_folder(settings)
        follower = Follower(
            folder.parent, rounds=settings.rounds, sites=len(sites), console=console
        )
        try:
            with follower, ProcessGroup(folder=groups, logs=logs) as group:
                # 1. Keys and certificates, made on first use.
                make_cloud_keys(settings.keys_dir, hosts=())
                bundles = {site.id: make_site_keys(settings.keys_dir, site.id) for site in sites}
                # 2. The cloud.
                cloud = Cloud(settings, group, config=config, overrides=overrides, say=say)
                service = f"127.0.0.1:{free_port()}"
                say("starting the cloud: SuperLink and cloud service")
                cloud.start(gate=False, service_address=service)
                # 3. The sites. They share this host's cores.
                say(f"starting {len(sites)} sites: an edge service and a SuperNode each")
                threads = max(1, (os.cpu_count() or 1) // len(sites))
                for site_id, keys in bundles.items():
                    ours = {
                        "site.id": site_id,
                        "site.fleet": f"127.0.0.1:{cloud.superlink.port}",
                        "site.cloud": service,
                        "site.keys": str(keys),
                        "threads": str(threads),
                    }
                    settled = [f"{key}={value}" for key, value in ours.items()]
                    command = [sys.executable, "-m", "clients", "site", f"config={config}"]
                    group.start(f"site-{site_id}", [*command, *overrides, *settled])
                # 4. The rounds.
                cloud.carry_out(folder.name, follower)
        finally:
            follower.close(STOPPED)
    status = read_status(folder)
    if status is None or status.state != "completed":
        why = status.message if status and status.message else "its run never began."
        raise FederationError(f"Federation {folder.name} did not complete: {why} Logs: {logs}")
    if status.message:
        console.print(f"  [yellow]{status.message}[/]", soft_wrap=True)
    return folder


def unfinished(settings: Settings) -> Path:
    """The newest federation of this run folder, unless it has completed."""
    found = newest_federation(settings.federations_dir)
    if found is None:
        raise FederationError(f"There is no federation in {settings.run_dir} to go on with.")
    status = read_status(found)
    if status is not None and is_complete(status, settings.rounds):
        raise FederationError(
            f"Federation {found.name} has completed its {status.rounds_done} rounds. "
            "Ask for more rounds, or leave --resume out for a new one."
        )
    return found
