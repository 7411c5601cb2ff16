"""The real cloud service in a process of its own, for tests that need the whole way."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_service(
    model: Path, var: Path, *more: str
) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    """Start the service on a free port; yield the process and its address; kill what is left."""
    command = [sys.executable, "-m", "server", "serve"]
    command += [
        "service.address=127.0.0.1:0",
        "service.http=127.0.0.1:0",
        f"cloud.model={model}",
        f"var={var}",
        *more,
    ]
    log = (var / "service.log").open("w")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()  # blocks until ready, or until the process has ended
        prefix, _, address = line.strip().partition(" on ")
        assert prefix == "netgpt.v1", (line, (var / "service.log").read_text())
        yield process, address
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        log.close()
