"""A SuperLink of our own for one simulation: started on a free loopback port, stopped with all that
it started.

Flower's processes leave their parent's process group (SuperExec, the simulation, Ray's daemons and
workers each make a session of their own), and Ray's outlive a killed parent. All of them inherit
one mark in their environment, and by that mark they are found and ended: at the end, and before the
next start those of a simulation that was killed itself.
"""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from fl.errors import FederationError

MARK = "NETGPT_SIMULATION"
CONNECTION = "simulation"  # its name in FLWR_HOME/config.toml

_RAY_NOTE = "ray-folder"  # in the home: where Ray wrote
_READY_S = 120.0
_STOP_S = 5.0

# Flower: no telemetry, no look for updates, and no fresh environment with a download of torch for
# every run; a task is picked up at once. Ray: no usage report, no monitor that kills by memory, and
# no cluster: without that switch it listens on all interfaces, for anybody, with no password.
QUIET = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_memory_monitor_refresh_ms": "0",
}
_FOREIGN = ("RAY_ADDRESS", "FLWR_HOME")  # would lead to a cluster or a home of somebody else


class SuperLink:
    """Context manager around `flower-superlink --simulation` and the `flwr` command for it.

    Under `folder` it makes a FLWR_HOME of its own, so that two simulations do not meet.
    """

    def __init__(self, *, folder: Path, log_file: Path) -> None:
        self.home = folder / f"run-{os.getpid()}"
        self._log_file = log_file
        self._mark = f"{os.getpid()} {folder}"
        self._process: subprocess.Popen[bytes] | None = None
        self._ray_folder = ""

    def __enter__(self) -> "SuperLink":
        """Start it and wait until it answers; raise FederationError if it does not."""
        end_orphans(self.home.parent)
        self.home.mkdir(parents=True, exist_ok=True)
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        # Ray's sockets need a short path, so its folder cannot lie in ours.
        self._ray_folder = tempfile.mkdtemp(prefix="netgpt-ray-")
        (self.home / _RAY_NOTE).write_text(self._ray_folder)
        port = _free_port()
        (self.home / "config.toml").write_text(
            f'superlink.default = "{CONNECTION}"\n'
            f'superlink.{CONNECTION}.address = "127.0.0.1:{port}"\n'
            f"superlink.{CONNECTION}.insecure = true\n"
        )
        command = ["flower-superlink", "--simulation", "--insecure", "--host", "127.0.0.1"]
        with open(self._log_file, "ab") as log:
            self._process = subprocess.Popen(
                _in_this_environment(*command, "--port", str(port)),
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is ours to handle
            )
        try:
            self._wait_until_ready(port)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything, however the simulation ended."""
        self.stop()

    def flwr(self, *arguments: str) -> dict[str, Any]:
        """Run the flwr command and return its JSON; raise FederationError with what it said."""
        done = subprocess.run(
            _in_this_environment("flwr", *arguments, "--format", "json"),
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        try:
            answer = json.loads(done.stdout)
        except ValueError:
            answer = {}
        if done.returncode or not isinstance(answer, dict) or not answer.get("success"):
            said = str(answer.get("error-message") or done.stderr or done.stdout).strip()
            raise FederationError(f"`flwr {arguments[0]}` failed: {said[-500:]}")
        return answer

    def keep_log(self, run_id: str) -> None:
        """Add what the run's own processes logged to our log file; Flower keeps it elsewhere."""
        with open(self._log_file, "ab") as log:
            subprocess.run(
                _in_this_environment("flwr", "log", run_id, "--show"),
                env=self._environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            )

    def alive(self) -> bool:
        """Is the SuperLink still running?"""
        return self._process is not None and self._process.poll() is None

    def stop(self) -> None:
        """Ask politely, then kill; also what has lost its parent."""
        if self._process is None:
            return
        self._process.terminate()
        psutil.wait_procs(list(_marked(self._mark)), timeout=_STOP_S)
        _kill_all(self._mark)
        self._process.wait()
        self._process = None
        shutil.rmtree(self._ray_folder, ignore_errors=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
        ours = {"FLWR_HOME": str(self.home), "RAY_TMPDIR": self._ray_folder, MARK: self._mark}
        return {**kept, **QUIET, **ours, "PATH": _path(os.environ)}

    def _wait_until_ready(self, port: int) -> None:
        until = time.monotonic() + _READY_S
        while time.monotonic() < until:
            if not self.alive():
                break
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        raise FederationError(
            f"Flower's SuperLink did not start within {_READY_S:g} s; {self._log_file} says why."
        )


def end_orphans(folder: Path) -> None:
    """End what simulations under `folder` started that are no more, and remove their homes."""
    for home in folder.glob("run-*"):
        pid = home.name.removeprefix("run-")
        if pid.isdecimal() and (int(pid) == os.getpid() or not psutil.pid_exists(int(pid))):
            _kill_all(f"{pid} {folder}")
            if (note := home / _RAY_NOTE).is_file():
                shutil.rmtree(note.read_text(), ignore_errors=True)
            shutil.rmtree(home, ignore_errors=True)


def _marked(mark: str) -> Iterator[psutil.Process]:
    """All processes that inherited a mark, wherever they hang now."""
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                yield process
        except psutil.Error:  # gone, or somebody else's
            continue


def _kill_all(mark: str) -> None:
    """Repeated, because one that is about to die may have started another."""
    while left := list(_marked(mark)):
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)


def _in_this_environment(command: str, *arguments: str) -> Sequence[str]:
    """A command that was installed beside this Python."""
    return [str(Path(sys.executable).parent / command), *arguments]


def _path(environment: Mapping[str, str]) -> str:
    """PATH with this Python's folder first: Flower's processes start each other by name."""
    return os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])


def _free_port() -> int:
    """A port nobody listens on now. Should somebody take it first, the start fails and says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
