"""Workers that are started here: services with an embedded engine, one process each.

    settings of this service -> a worker's own in run-PID/worker-N/settings.json -> serve --tethered
    -> its address in the same folder

A worker that ends is started again, after a pause that grows while it keeps dying. All end with
this process: in order with `close`, by the end of their standard input where it was killed.
"""

import os
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from fl import durable
from fl.process_group import ProcessGroup
from fl.settings import Settings, as_file, home

ADDRESS_FILE = "service.address"  # as a service notes it
_FOLDER = "workers"  # in the run folder
_NOT_FOR_WORKERS = ("NETGPT_API_KEYS",)  # who asks them has been let in here


class WorkerProcesses:
    """The processes of engine.workers."""

    def __init__(self, settings: Settings) -> None:
        """Start them; they take seconds to load the model."""
        count = int(settings.engine.workers)
        self.names = tuple(f"worker-{number}" for number in range(1, count + 1))
        logs = settings.var_dir / "logs" / f"workers-{time.strftime('%Y%m%d-%H%M%S')}"
        self._group = ProcessGroup(folder=settings.run_dir / _FOLDER, logs=logs)
        self._ending = ExitStack()
        self._ending.enter_context(self._group)
        try:
            for name in self.names:
                self._start(name, _for_a_worker(settings, self._folder(name), count))
        except BaseException:
            self.close()
            raise

    def ended(self) -> dict[str, str]:
        """Workers that have ended since the last call, and how; some may be started again."""
        found = {}
        for ended in self._group.ended():
            (self._folder(ended.name) / ADDRESS_FILE).unlink(missing_ok=True)
            words = f": {self._group.last_words(ended.name)}" if ended.code > 0 else ""
            found[ended.name] = f"{str(ended).removeprefix(ended.name).strip()}{words}"
        self._group.start_again()
        return found

    def address(self, name: str) -> str | None:
        """Where a worker listens, once it has written it down."""
        try:
            return (self._folder(name) / ADDRESS_FILE).read_text().strip()
        except FileNotFoundError:
            return None

    def give_up(self, name: str) -> bool:
        """Kill it."""
        self._group.kill(name)
        return True

    def close(self) -> None:
        """SIGTERM to all, then SIGKILL. Safe to repeat."""
        self._ending.close()

    def _start(self, name: str, settings: Settings) -> None:
        folder = self._folder(name)
        file = folder / "settings.json"
        durable.publish(file, as_file(settings), mode=0o600)
        environment = {k: v for k, v in os.environ.items() if k not in _NOT_FOR_WORKERS}
        environment["NETGPT_HOME"] = str(home())
        self._group.start(
            name,
            [sys.executable, "-m", "server", "serve", "--tethered", f"config={file}"],
            environment,
            tethered=True,
        )

    def _folder(self, name: str) -> Path:
        return self._group.folder / name


def _for_a_worker(settings: Settings, folder: Path, count: int) -> Settings:
    """The same model, limits and releases; plain on loopback, without HTTP, keys and a front."""
    service = replace(
        settings.service,
        address="127.0.0.1:0",
        http="none",
        api_keys="",
        client_certificates=False,
        folder=str(folder),
    )
    engine = replace(settings.engine, kind="embedded")
    threads = max(settings.threads // count, 1) if settings.threads else 0
    return replace(settings, service=service, engine=engine, threads=threads)
