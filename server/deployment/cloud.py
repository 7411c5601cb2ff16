"""The cloud's processes here: SuperLink, cloud service and, for other hosts, the fleet gate.

Whatever of them dies is started again. A run whose SuperLink or ServerApp died is submitted again
for the same federation, which goes on at its newest release + 1: Flower itself gives up a run whose
SuperLink restarted.
"""

import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fl.errors import FederationError
from fl.flower_command import free_port
from fl.process_group import ProcessGroup, runs
from fl.run_config import join_overrides
from fl.settings import Settings, home
from server.federation.follower import Follower
from server.federation.strategy import STOPPED
from server.federation.superlink import NAME as SUPERLINK
from server.federation.superlink import SuperLink

SERVICE, GATE = "service", "gate"  # names of the processes and of their logs

_POLL_S = 0.2
_LOOK_FOR_KEYS_S = 3.0
_STARTED_S = 60.0  # for a ServerApp to write its first status
_MOST_RUNS = 10  # of one federation within one call: a fault that returns each time is no accident


class Cloud:
    """Start it in a running group; `carry_out` a federation; `look_after` what runs."""

    def __init__(
        self,
        settings: Settings,
        group: ProcessGroup,
        *,
        config: str,
        overrides: Sequence[str],
        say: Callable[[str], None],
    ) -> None:
        """`config` and `overrides` are what `settings` were loaded from."""
        self._settings, self._group, self._say = settings, group, say
        self._config, self._overrides = config, tuple(overrides)
        keys, folder = settings.keys_dir, settings.run_dir / "flower"
        self.superlink = SuperLink(
            group,
            home=folder,
            port=free_port(),
            ca=keys / "ca.crt",
            arguments=(
                *("--ssl-ca-certfile", str(keys / "ca.crt")),
                *("--ssl-certfile", str(keys / "server.crt")),
                *("--ssl-keyfile", str(keys / "server.key")),
                *("--enable-supernode-auth", "--database", str(folder / "state.db")),
            ),
        )
        self._registered: dict[Path, bytes] = {}
        self._said: dict[str, str] = {}  # of each process, how it last ended
        self._looked_for_keys = 0.0

    def start(self, *, gate: bool, service_address: str, http: str = "none") -> None:
        """Start all; `gate` lets other hosts in at cloud.fleet."""
        overrides = [
            *self._overrides,
            f"service.address={service_address}",
            f"service.http={http}",
        ]
        self._group.start(
            SERVICE,
            [sys.executable, "-m", "server", "serve", f"config={self._config}", *overrides],
        )
        self.superlink.start()
        self._register_sites()
        if gate:
            self._group.start(
                GATE,
                [
                    *(sys.executable, "-m", "server.deployment.fleet_gate"),
                    *("--listen", self._settings.cloud.fleet),
                    *("--superlink", f"127.0.0.1:{self.superlink.port}"),
                    *("--keys", str(self._settings.keys_dir)),
                ],
            )

    def carry_out(self, federation: str, follower: Follower) -> None:
        """Run the rounds of a federation; return when its status is terminal.

        Raises FederationError when its run has to be started again too often.
        """
        for _ in range(_MOST_RUNS):
            while not self._group.alive(SUPERLINK):
                self.look_after()
                time.sleep(_POLL_S)
            try:
                run_id = self.superlink.submit(
                    home(),
                    {
                        "config": self._config,
                        "overrides": join_overrides(self._overrides),
                        "federation": federation,
                    },
                )
                follower.follow(run_id)
                if self._follow(run_id, follower):
                    return
            except FederationError:
                if self._group.alive(SUPERLINK):
                    raise
                # It died between two questions: the run is lost, as with any other death.
            self._say(f"federation {federation} goes on at its newest release")
        raise FederationError(
            f"The run of federation {federation} died {_MOST_RUNS} times; logs: {self._group.logs}"
        )

    def look_after(self) -> list[str]:
        """Start again what has died, let in sites with new keys; names of what was started."""
        for ended in self._group.ended():
            words = f": {self._group.last_words(ended.name)}" if ended.code > 0 else ""
            said = f"{ended}{words}; it is started again"
            if self._said.get(ended.name) != said:  # one that fails each time is told once
                self._say(said)
            self._said[ended.name] = said
        started = self._group.start_again()
        if SUPERLINK in started:
            self.superlink.wait_until_ready()
        looked_s = time.monotonic() - self._looked_for_keys
        if looked_s > _LOOK_FOR_KEYS_S and self._group.alive(SUPERLINK):
            self._register_sites()
        return started

    def _follow(self, run_id: str, follower: Follower) -> bool:
        """True when the run has ended as it should, well or badly; False when it was lost."""
        submitted = time.monotonic()
        while not follower.ended():
            if SUPERLINK in self.look_after():
                return False
            status = follower.status
            if status is not None and status.run_id == run_id:
                if not runs(status.pid) and not follower.ended():
                    self._say("the run's ServerApp was killed")
                    return False
            elif time.monotonic() - submitted > _STARTED_S:
                if self.superlink.state(run_id).startswith("finished"):
                    self.superlink.keep_log(run_id)
                    return False
                submitted = time.monotonic()
            time.sleep(_POLL_S)
        # A ServerApp whose SuperLink died is stopped by Flower; nobody here has asked for that.
        status = follower.status
        return status is None or status.state == "completed" or status.message != STOPPED

    def _register_sites(self) -> None:
        """Let in the sites whose keys lie in the keys folder."""
        self._looked_for_keys = time.monotonic()
        for public_key in sorted(self._settings.keys_dir.glob("sites/*/site.pub")):
            content = public_key.read_bytes()
            if self._registered.get(public_key) != content:
                self.superlink.register(public_key, name=public_key.parent.name)
                self._registered[public_key] = content
