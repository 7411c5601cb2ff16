"""The verb `federate` in a process of its own, looked at from outside, and killed in parts."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from fl.process_group import end_orphans, marked
from fl.settings import Settings, load
from server.federation.round_log import RunStatus, read_status
from tests.walks.tiny_federation import make_tiny_federation

PAUSE_FOLDER = Path(__file__).parent / "pause"


class Deployed:
    """A running `federate` over the tiny sites."""

    def __init__(self, process: "subprocess.Popen[str]", settings: Settings, output: Path) -> None:
        self.process, self.settings, self._output = process, settings, output

    @property
    def folder(self) -> Path:
        """Of the first federation."""
        return self.settings.run_dir / "federations" / "001"

    @property
    def status(self) -> RunStatus | None:
        return read_status(self.folder)

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def said(self) -> str:
        """What the verb and the sites' verbs have said."""
        logs = (self.settings.var_dir / "logs").glob("federate-*/site-*.log")
        return self.output + "".join(log.read_text() for log in logs)

    def processes(self, *words: str) -> list[psutil.Process]:
        """Those of the federation whose command line holds all of these words."""
        found = []
        for process in marked(f"{self.process.pid} {self.settings.run_dir / 'flower'}"):
            try:
                line = " ".join(process.cmdline())
            except psutil.Error:
                continue
            if all(word in line for word in words):
                found.append(process)
        return found

    def kill(self, *words: str) -> None:
        """SIGKILL; there must be something to kill."""
        found = self.processes(*words)
        assert found, f"nothing runs that is called {words}"
        for process in found:
            process.kill()

    def until(self, condition: Callable[[], object], *, seconds: float = 240) -> None:
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.output
            assert time.monotonic() < end, f"{self.status}\n{self.output}"
            time.sleep(0.05)

    def until_training(self, round_number: int, site: str) -> None:
        """Until a site's edge service has begun its work for a round."""
        said = f"round {round_number}"

        def begun() -> bool:
            logs = (self.settings.var_dir / "logs").glob(f"site-{site}-*/edge.log")
            lines = [line for log in logs for line in log.read_text().splitlines()]
            return any(said in line and "begun" in line for line in lines)

        self.until(begun)

    def finish(self, *, seconds: float = 420) -> int:
        """The exit code."""
        return self.process.wait(timeout=seconds)

    def sigkill_all(self) -> None:
        """The verb first, so that it starts nothing again, then all that it had started."""
        ours = self.processes()
        for process in [psutil.Process(self.process.pid), *ours]:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self.process.wait()


@contextmanager
def federate(
    folder: Path, *arguments: str, environment: Mapping[str, str] | None = None
) -> Iterator[Deployed]:
    """Start the verb over tiny sites in `folder`; whatever a test does, nothing is left running."""
    config = make_tiny_federation(folder) if not (folder / "tiny.yaml").is_file() else None
    given = [*(config or [f"config={folder / 'tiny.yaml'}"]), "cloud.model=none", *arguments]
    output = folder / "output.txt"
    settings = load([a for a in given if not a.startswith("--")])
    with open(output, "ab") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "server", "federate", *given],
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
    deployed = Deployed(process, settings, output)
    try:
        yield deployed
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                deployed.sigkill_all()
        end_orphans(settings.run_dir / "flower")


def pause_at(method: str, nth: int, flag: Path) -> dict[str, str]:
    """Environment in which the n-th call of `module:Class.method` stops until it is killed."""
    return {"PYTHONPATH": str(PAUSE_FOLDER), "PAUSE_AT": f"{method}:{nth}:{flag}"}


def published(folder: Path) -> dict[str, bytes]:
    """All bytes of a federation's releases, aliases and verdicts."""
    wanted = [*(folder / "releases").rglob("*"), folder / "verdicts.jsonl"]
    return {
        str(file.relative_to(folder)): file.read_bytes()
        for file in wanted
        if file.is_file() and not file.name.startswith(".") and file.name != "history.jsonl"
    }
