"""Processes one verb has started: kept alive, logged, and ended together with all they started.

Flower's processes leave their parent's process group (SuperExec, the apps, Ray's daemons make
sessions of their own), and some outlive a killed parent. All of them inherit marks in their
environment, and by a mark they are found and ended: when a group stops, before a process is started
again, and before the next start what a killed group left behind.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

MARKS = "NETGPT_MARKS"  # ;-separated, because a group may be started by a process of another group

_FIRST_PAUSE_S = 0.5  # before a process is started again, doubled each time it dies young
_OLD_S = 60.0  # a process that lived this long was fine: the next pause is short again


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that has ended by itself."""

    name: str
    code: int  # exit code; -n where signal n ended it

    def __str__(self) -> str:
        if self.code < 0:
            return f"{self.name} was killed ({signal.Signals(-self.code).name})"
        return f"{self.name} ended with exit code {self.code}"


class _Member:
    """One process and how to start it."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log_file: Path,
        longest_pause_s: float,
        tethered: bool,
    ) -> None:
        self.command, self.environment, self.log_file = command, environment, log_file
        self.tethered = tethered
        self.longest_pause_s = longest_pause_s
        self.started = time.monotonic()
        self.pause_s = _FIRST_PAUSE_S
        self.again_at: float | None = None  # when it is started again, while it is down
        self.process = self._spawn()

    def _spawn(self) -> "subprocess.Popen[bytes]":
        self.log_file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log_file, "ab") as log:
            return subprocess.Popen(
                self.command,
                env=dict(self.environment),
                stdin=subprocess.PIPE if self.tethered else subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the verb alone, which ends them in order
            )

    def let_go(self) -> None:
        """Its standard input ends."""
        if self.process.stdin is not None:
            self.process.stdin.close()

    def start_again(self) -> None:
        self.let_go()
        self.started, self.again_at = time.monotonic(), None
        self.process = self._spawn()


class ProcessGroup:
    """The processes of one verb. Use as a context manager: leaving it ends all of them."""

    def __init__(self, *, folder: Path, logs: Path, stop_s: float = 6.0) -> None:
        """`folder` remembers the group on disk; `logs` gets one file a process.

        After `stop_s` seconds what has not ended is killed.
        """
        self.folder = folder / f"run-{os.getpid()}"
        self.logs = logs
        self._mark = f"{os.getpid()} {folder}"
        self._stop_s = stop_s
        self._members: dict[str, _Member] = {}

    def __enter__(self) -> "ProcessGroup":
        end_orphans(self.folder.parent)
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        *,
        longest_pause_s: float = 30.0,
        tethered: bool = False,
    ) -> None:
        """Start a process; its output goes to logs/<name>.log.

        One that keeps dying waits longer each time before it is started again, so long at the most.
        The standard input of a `tethered` one ends when this process does, however it does.
        """
        given = dict(os.environ if environment is None else environment)
        marks = [*filter(None, given.get(MARKS, "").split(";")), self._mark, self._own(name)]
        given[MARKS] = ";".join(marks)
        self._members[name] = _Member(
            command, given, self.log_file(name), longest_pause_s, tethered
        )

    def log_file(self, name: str) -> Path:
        """Where a process writes."""
        return self.logs / f"{name}.log"

    def last_words(self, name: str) -> str:
        """The last line that a process has written."""
        file = self.log_file(name)
        lines = file.read_text(errors="replace").splitlines() if file.is_file() else []
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    def pid(self, name: str) -> int:
        """The process id it has now; another one once it was started again."""
        return self._members[name].process.pid

    def alive(self, name: str) -> bool:
        """Is it running?"""
        return self._members[name].process.poll() is None

    def kill(self, name: str) -> None:
        """End a process that does not react, at once; `ended` tells of it as of any other."""
        self._members[name].process.kill()

    def ended(self) -> list[Ended]:
        """Processes that have ended since the last call, with whatever they left behind ended too.

        Each is started again by `start_again` after a pause.
        """
        found = []
        for name, member in self._members.items():
            code = member.process.poll()
            if code is None or member.again_at is not None:
                continue
            kill_marked(self._own(name))
            if time.monotonic() - member.started > _OLD_S:
                member.pause_s = _FIRST_PAUSE_S
            member.again_at = time.monotonic() + member.pause_s
            member.pause_s = min(2 * member.pause_s, member.longest_pause_s)
            found.append(Ended(name=name, code=code))
        return found

    def start_again(self) -> list[str]:
        """Start what is down and whose pause is over; return their names."""
        now = time.monotonic()
        due = [n for n, m in self._members.items() if m.again_at is not None and m.again_at <= now]
        for name in due:
            self._members[name].start_again()
        return due

    def stop(self, name: str = "") -> None:
        """End one process, or all: ask politely, then kill, also what has lost its parent."""
        mark = self._own(name) if name else self._mark
        members = [self._members.pop(name)] if name else list(self._members.values())
        if not name:
            self._members = {}
        with _undisturbed():
            for member in members:
                with contextlib.suppress(ProcessLookupError):
                    member.process.terminate()
            until = time.monotonic() + self._stop_s
            while any(m.process.poll() is None for m in members) and time.monotonic() < until:
                time.sleep(0.05)
            kill_marked(mark)
            for member in members:
                member.process.wait()
                member.let_go()
            if not name:
                shutil.rmtree(self.folder, ignore_errors=True)

    def _own(self, name: str) -> str:
        """The mark of one process and what it starts."""
        return f"{self._mark} {name}"


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C must not leave half of them running; ending takes a few seconds only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in kept:
        signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def end_orphans(folder: Path, *, clean: Callable[[Path], None] = lambda _: None) -> None:
    """End what groups under `folder` started whose own process is no more.

    `clean` is called with each of their folders before it is removed.
    """
    for left in folder.glob("run-*"):
        pid = left.name.removeprefix("run-")
        if pid.isdecimal() and (int(pid) == os.getpid() or not runs(int(pid))):
            kill_marked(f"{pid} {folder}")
            clean(left)
            shutil.rmtree(left, ignore_errors=True)


def runs(pid: int) -> bool:
    """Is there a process of this id that has not ended? Flower leaves ended ones unreaped."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def children(pid: int, word: str) -> list[int]:
    """Ids of the processes that this one has started with `word` in their command line."""
    return [child.pid for child in psutil.Process(pid).children() if word in child.cmdline()]


def resident_bytes() -> int:
    """How much of this process is in memory now."""
    found: int = psutil.Process().memory_info().rss
    return found


def marked(mark: str) -> Iterator[psutil.Process]:
    """All processes that inherited a mark, wherever they hang now."""
    for process in psutil.process_iter():
        try:
            if mark in process.environ().get(MARKS, "").split(";"):
                yield process
        except psutil.Error:  # gone, or somebody else's
            continue


def kill_marked(mark: str) -> None:
    """Repeated, because one that is about to die may have started another."""
    while left := [p for p in marked(mark) if p.pid != os.getpid()]:
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=1.0)
