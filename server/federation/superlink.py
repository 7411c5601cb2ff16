"""Flower's SuperLink in a process group, and the `flwr` command for it.

A simulation runs it plain on loopback, a deployment with TLS, registered site keys and a database.
"""

import json
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fl.errors import FederationError
from fl.flower_command import flower_environment, flwr, installed
from fl.process_group import ProcessGroup

NAME = "superlink"  # of its process in the group

_CONNECTION = "here"  # its name in FLWR_HOME/config.toml
_READY_S = 120.0


class SuperLink:
    """One SuperLink on this machine; `start` it inside a running group."""

    def __init__(
        self,
        group: ProcessGroup,
        *,
        home: Path,
        port: int,
        arguments: Sequence[str],
        ca: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`home` becomes its FLWR_HOME. `ca` is the authority of its certificate, None without TLS.

        `arguments` are those of flower-superlink beyond host and port.
        """
        self.home, self.port = home, port
        self._group, self._arguments, self._ca = group, arguments, ca
        self.environment = flower_environment(home, **(environment or {}))

    def start(self) -> None:
        """Start it and wait until it answers; raise FederationError if it does not."""
        self.home.mkdir(parents=True, exist_ok=True)
        trust = "insecure = true" if self._ca is None else f"root-certificates = {_toml(self._ca)}"
        (self.home / "config.toml").write_text(
            f'superlink.default = "{_CONNECTION}"\n'
            f'superlink.{_CONNECTION}.address = "127.0.0.1:{self.port}"\n'
            f"superlink.{_CONNECTION}.{trust}\n"
        )
        command = installed("flower-superlink", "--host", "127.0.0.1", "--port", str(self.port))
        self._group.start(NAME, [*command, *self._arguments], self.environment)
        self.wait_until_ready()

    def wait_until_ready(self) -> None:
        """Until it answers; raise FederationError when it ends or takes too long."""
        until = time.monotonic() + _READY_S
        while time.monotonic() < until and self._group.alive(NAME):
            if self._answers():
                return
            time.sleep(0.05)
        raise FederationError(
            f"Flower's SuperLink did not start within {_READY_S:g} s; "
            f"{self._group.log_file(NAME)} says why."
        )

    def register(self, public_key: Path, *, name: str) -> None:
        """Let the SuperNode with this key in, under a site's name."""
        try:
            flwr(
                self.environment,
                *("supernode", "register", str(public_key), _CONNECTION, "--name", name),
            )
        except FederationError as error:
            if "already" not in str(error):
                raise

    def submit(self, app: Path, run_config: Mapping[str, str], *, shape: str = "") -> str:
        """Start a run of the app in a folder; return Flower's id of it.

        `shape` is the federation config of a simulation.
        """
        # The run config travels as a file, in which any character may stand.
        file = self.home / "run.toml"
        file.write_text("".join(f"{k} = {json.dumps(v)}\n" for k, v in run_config.items()))
        extra = ["--federation-config", shape] if shape else []
        answer = self.flwr("run", str(app), _CONNECTION, "--run-config", str(file), *extra)
        return str(answer["run-id"])

    def state(self, run_id: str) -> str:
        """`running`, `finished:completed`, `finished:failed`, ... as Flower says."""
        runs = self.flwr("list", "--run-id", run_id)["runs"]
        return str(runs[0]["status"])

    def flwr(self, *arguments: str) -> dict[str, Any]:
        """Run the flwr command and return its JSON; raise FederationError with what it said."""
        return flwr(self.environment, *arguments)

    def keep_log(self, run_id: str) -> None:
        """Add what the run's own processes logged to our log file; Flower keeps it elsewhere."""
        with open(self._group.log_file(NAME), "ab") as log:
            subprocess.run(
                installed("flwr", "log", run_id, "--show"),
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )

    def _answers(self) -> bool:
        scheme = "http" if self._ca is None else "https"
        trust = None if self._ca is None else ssl.create_default_context(cafile=self._ca)
        try:
            with urllib.request.urlopen(
                f"{scheme}://127.0.0.1:{self.port}/health", timeout=1, context=trust
            ):
                return True
        except OSError:
            return False


def _toml(path: Path) -> str:
    """A path as a TOML string, which JSON's is too."""
    return json.dumps(str(path))
