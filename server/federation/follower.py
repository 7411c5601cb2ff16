"""Watches a federation from outside through the files its ServerApp writes, and shows it."""

from dataclasses import replace
from pathlib import Path
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fl.errors import FederationError
from server.federation.report import describe
from server.federation.round_log import RoundLog, RunStatus, read_reports, read_status


class Follower:
    """A progress bar and one line a round; plain lines where the output is no terminal.

    A federation may take several runs, one after another: each round is shown once.
    """

    def __init__(self, federations: Path, *, rounds: int, sites: int, console: Console) -> None:
        self.folder: Path | None = None  # of the federation, once its run has made it
        self.status: RunStatus | None = None
        self._federations = federations
        self._run_id = ""
        self._sites = sites
        self._shown: set[int] = set()  # releases whose round was shown
        self._end_shown = False
        self._console = console
        self._bar = Progress(
            TextColumn("  {task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f} replies"),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("starting Flower", total=(rounds + 1) * sites)

    def __enter__(self) -> "Follower":
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bar.stop()

    def follow(self, run_id: str) -> None:
        """From now on watch this Flower run, of the same federation if there was one before."""
        self._run_id = run_id
        self._bar.update(self._task, description="waiting for the sites")

    def ended(self) -> bool:
        """Look once, show what is new; True when our run's ServerApp wrote a terminal state."""
        if self.folder is None and not self._find():
            return False
        assert self.folder is not None
        self.status = read_status(self.folder)
        if self.status is None:
            return False
        self._show(self.folder, self.status)
        return self.status.state != "running" and self.status.run_id == self._run_id

    def close(self, message: str) -> None:
        """A run that was ended from outside gets its terminal state from here."""
        if self.folder is not None:
            self.ended()
            if self.status is not None and self.status.state == "running":
                self.status = replace(self.status, state="failed", message=message)
                RoundLog(self.folder).set_status(self.status)

    def _show(self, folder: Path, status: RunStatus) -> None:
        for report in read_reports(folder / "rounds.jsonl"):
            if report.release_number not in self._shown:
                self._shown.add(report.release_number)
                self._print(f"round {report.round_number} of {status.rounds}: {describe(report)}")
        done = status.rounds_done * self._sites + status.replies
        attempt = f", attempt {status.attempt}" if status.attempt > 1 else ""
        self._bar.update(self._task, completed=done, description=f"{status.step}{attempt}")
        ours = status.run_id == self._run_id
        if ours and status.state == "completed" and not self._end_shown:
            self._end_shown = True
            self._print(f"release {status.current_release} is current")

    def _print(self, line: str) -> None:
        self._console.print(f"  {line}", highlight=False, soft_wrap=True)

    def _find(self) -> bool:
        """Which federation belongs to our run? Its status says so."""
        if not self._federations.is_dir():
            return False
        for folder in sorted(self._federations.iterdir(), reverse=True):
            try:
                status = read_status(folder)
            except FederationError:
                continue  # not ours: ours is written by this version
            if status is not None and status.run_id == self._run_id:
                self.folder = folder
                return True
        return False
