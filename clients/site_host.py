"""The verb `site`: the edge service and the SuperNode of one site, kept running until Ctrl-C.

    keys and the cloud's certificate are checked -> edge service -> SuperNode -> watch both

A process that dies is started again after a pause. What cannot get better by waiting (a key the
cloud does not know, a certificate of somebody else) ends the verb with one sentence.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from clients.edge_service.edge_file import EDGE_KEY, edge_file, read_edge_file
from clients.workflow.workflow_file import workflow_of
from fl.errors import FederationError, SettingsError
from fl.flower_command import flower_environment, free_port, installed
from fl.process_group import Ended, ProcessGroup
from fl.settings import Settings, resolve
from fl.site import Site
from fl.site_list import hosted_site, site_folder
from fl.tls_check import NobodyListens, check_tls

_EDGE, _SUPERNODE = "edge", "supernode"  # names of the processes and of their logs
_POLL_S = 0.2
_READY_S = 180.0  # for the edge service to load its model
_CLOUD_LOOK_S = 2.0  # between two looks for a cloud that is not there yet
_KEY_FILES = ("site.key", "site.ssh", "site.crt", "ca.crt", "signing.pub")
_NOT_LET_IN = b"Failed to activate SuperNode"  # Flower's words, code 2004, exit code 305
_LASTS_S = 75.0  # two heartbeats of Flower and a pause


def host(settings: Settings, arguments: Sequence[str], say: Callable[[str], None]) -> None:
    """Run the site `settings.site.id` until KeyboardInterrupt.

    `arguments` are those `settings` were loaded from. Raises SettingsError or FederationError where
    waiting does not help.
    """
    workflow_of(settings)
    site = hosted_site(settings)
    keys = _keys_folder(settings, site)
    # 1. Is it our cloud that answers there? A site may start before its cloud.
    _wait_for_cloud(settings, keys, say)
    folder = site_folder(settings, site.id)
    logs = settings.var_dir / "logs" / f"site-{site.id}-{time.strftime('%Y%m%d-%H%M%S')}"
    with ProcessGroup(folder=folder / "processes", logs=logs, stop_s=4.0) as group:
        # 2. The edge service: model, book, learning, asking.
        edge = edge_file(settings, site.id)
        group.start(_EDGE, [sys.executable, "-m", "clients", "edge", *arguments])
        _wait_for_edge_service(edge, group)
        # 3. The SuperNode: Flower's end of the line.
        command = _supernode(settings, site, keys)
        group.start(_SUPERNODE, command, flower_environment(folder / "flower"), longest_pause_s=4.0)
        say(f"site {site.id} is up; logs: {logs}")
        # 4. Keep both alive.
        refusals = _Refusals(site, group, say)
        while True:
            for ended in group.ended():
                if ended.name == _EDGE and ended.code == 2:
                    raise SettingsError(group.last_words(_EDGE))
                if not refusals.explain(ended):
                    say(f"site {site.id}: {ended}; it is started again")
            group.start_again()
            time.sleep(_POLL_S)


def _keys_folder(settings: Settings, site: Site) -> Path:
    if not settings.site.keys:
        raise SettingsError(
            "site.keys must name the folder with this site's key and the cloud's certificates. "
            f"On the cloud's host make it with ./run.sh keys {site.id} and copy it here."
        )
    folder = resolve(settings.site.keys)
    if missing := [name for name in _KEY_FILES if not (folder / name).is_file()]:
        raise SettingsError(
            f"{folder} lacks {', '.join(missing)}. Copy the whole folder that "
            f"./run.sh keys {site.id} made on the cloud's host."
        )
    return folder


def _wait_for_cloud(settings: Settings, keys: Path, say: Callable[[str], None]) -> None:
    """Return when the fleet address answers with a certificate of our cloud."""
    said = False
    while True:
        try:
            check_tls(settings.site.fleet, keys / "ca.crt", what="site.fleet")
            return
        except NobodyListens as away:
            if not said:
                say(f"{away} Waiting for it.")
            said = True
            time.sleep(_CLOUD_LOOK_S)


def _wait_for_edge_service(file: Path, group: ProcessGroup) -> None:
    until = time.monotonic() + _READY_S
    while time.monotonic() < until and group.alive(_EDGE):
        # a file may be there of one that was killed, or of one that somebody else has started
        running = read_edge_file(file)
        if running is not None and running.pid == group.pid(_EDGE):
            return
        time.sleep(0.05)
    raise FederationError(
        f"The edge service did not start: {group.last_words(_EDGE)} ({group.log_file(_EDGE)})"
    )


def _supernode(settings: Settings, site: Site, keys: Path) -> Sequence[str]:
    node = {"site": site.id, EDGE_KEY: str(edge_file(settings, site.id))}
    return installed(
        "flower-supernode",
        *("--superlink", settings.site.fleet),
        *("--root-certificates", str(keys / "ca.crt")),
        *("--auth-supernode-private-key", str(keys / "site.ssh")),
        *("--host", "127.0.0.1", "--port", str(free_port())),  # of its own apps
        *("--node-config", " ".join(f"{key}={json.dumps(value)}" for key, value in node.items())),
    )


class _Refusals:
    """SuperNodes that the SuperLink did not let in, and whether waiting may help.

    Flower lets no SuperNode in under a key while it counts another one of that key as online, and
    it does so for two missed heartbeats after that one was killed. The refusal reads the same as
    that of an unknown key, so only one that lasts is final.
    """

    def __init__(self, site: Site, group: ProcessGroup, say: Callable[[str], None]) -> None:
        self._site, self._group, self._say = site, group, say
        self._since: float | None = None  # monotonic time of the first refusal in a row
        self._read = 0  # bytes of the log that were looked at

    def explain(self, ended: Ended) -> bool:
        """True for a refusal that may pass, said once. Raises FederationError when it lasts."""
        if ended.name != _SUPERNODE:
            return False
        log = self._group.log_file(_SUPERNODE).read_bytes()
        new, self._read = log[self._read :], len(log)
        if _NOT_LET_IN not in new:
            self._since = None
            return False
        if self._since is None:
            self._since = time.monotonic()
            self._say(
                f"site {self._site.id}: the cloud does not let its key in. Either it is not "
                f"registered, or a SuperNode that was killed still counts as online; trying again "
                f"for {_LASTS_S:.0f} s"
            )
        if time.monotonic() - self._since > _LASTS_S:
            raise FederationError(
                f"The cloud does not know the key of site {self._site.id}. On its host run "
                f"./run.sh keys {self._site.id}; a running ./run.sh cloud then lets it in within "
                "seconds. If the key was made anew there, copy its folder here again."
            )
        return True
