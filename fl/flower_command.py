"""How Flower's commands are started: quiet, offline, from this environment, each with its home.

Flower: no telemetry, no look for updates, and no fresh environment with a download of torch for
every run; a task is picked up at once. Ray: no usage report, no monitor that kills by memory, and
no cluster: without that switch it listens on all interfaces, for anybody, with no password.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fl.errors import FederationError

QUIET: Mapping[str, str] = {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
    "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_memory_monitor_refresh_ms": "0",
}
_FOREIGN = ("RAY_ADDRESS", "FLWR_HOME")  # would lead to a cluster or a home of somebody else


def flower_environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of Flower's processes; `home` is their FLWR_HOME."""
    kept = {key: value for key, value in os.environ.items() if key not in _FOREIGN}
    # this Python's folder first: Flower's processes start each other by name
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**kept, **QUIET, "FLWR_HOME": str(home), "PATH": path, **more}


def installed(command: str, *arguments: str) -> list[str]:
    """A command that was installed beside this Python."""
    return [str(Path(sys.executable).parent / command), *arguments]


def flwr(environment: Mapping[str, str], *arguments: str) -> dict[str, Any]:
    """Run the flwr command and return its JSON; raise FederationError with what it said."""
    done = subprocess.run(
        installed("flwr", *arguments, "--format", "json"),
        env=dict(environment),
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


def free_port() -> int:
    """A loopback port nobody listens on now. Should somebody take it first, the start says so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
