"""Groups of real processes: restarted, ended with their children, and found after a kill."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fl.process_group import MARKS, ProcessGroup, end_orphans, marked, runs

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
# starts a child in a session of its own, as Flower's processes do, and tells its pid
PARENT = (
    "import subprocess, sys, time\n"
    f"c = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)\n"
    "print(c.pid, flush=True)\n"
    "time.sleep(600)"
)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def until(condition: Callable[[], object]) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def child_of(group: ProcessGroup, name: str) -> int:
    log = group.log_file(name)

    def numbers() -> list[str]:  # whole lines only; the child writes into the same log
        lines = log.read_text().splitlines(keepends=True) if log.is_file() else []
        return [line.strip() for line in lines if line.endswith("\n") and line.strip().isdecimal()]

    until(lambda: numbers())
    return int(numbers()[-1])


def test_leaving_ends_everything_also_what_left_its_parents_session(tmp_path: Path) -> None:
    with ProcessGroup(folder=tmp_path / "groups", logs=tmp_path / "logs") as group:
        group.start("parent", python(PARENT))
        child = child_of(group, "parent")
        parent = group.pid("parent")
        assert runs(child)
    assert not runs(child)
    assert not runs(parent)
    assert list((tmp_path / "groups").iterdir()) == []


def test_one_that_is_killed_is_told_once_and_started_again(tmp_path: Path) -> None:
    with ProcessGroup(folder=tmp_path / "groups", logs=tmp_path / "logs") as group:
        group.start("parent", python(PARENT))
        group.start("other", python(SLEEP))
        child, first, other = child_of(group, "parent"), group.pid("parent"), group.pid("other")
        os.kill(first, signal.SIGKILL)
        until(lambda: not group.alive("parent"))
        (ended,) = group.ended()
        assert str(ended) == "parent was killed (SIGKILL)"
        assert group.ended() == []
        assert not runs(child)  # its orphan would hold ports and locks
        until(lambda: group.start_again() == ["parent"])
        assert group.alive("parent")
        assert group.pid("parent") != first
        assert group.pid("other") == other


def test_an_exit_code_is_told(tmp_path: Path) -> None:
    with ProcessGroup(folder=tmp_path / "groups", logs=tmp_path / "logs") as group:
        group.start("brief", python("print('no book'); raise SystemExit(2)"))
        until(lambda: not group.alive("brief"))
        assert [str(e) for e in group.ended()] == ["brief ended with exit code 2"]
        assert group.log_file("brief").read_text() == "no book\n"


def test_what_does_not_listen_to_sigterm_is_killed(tmp_path: Path) -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
    with ProcessGroup(folder=tmp_path / "groups", logs=tmp_path / "logs", stop_s=0.3) as group:
        group.start("stubborn", python(stubborn))
        until(lambda: group.log_file("stubborn").read_text())
        pid = group.pid("stubborn")
    assert not runs(pid)


def test_a_second_interrupt_leaves_nothing_running_either(tmp_path: Path) -> None:
    """Whoever is impatient presses Ctrl-C again while the first one is obeyed."""
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SLEEP
    verb = (
        # a suite that was started in the background hands down an ignored SIGINT
        "import signal, sys, time\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from pathlib import Path\nfrom fl.process_group import ProcessGroup\n"
        f"with ProcessGroup(folder=Path({str(tmp_path / 'groups')!r}), "
        f"logs=Path({str(tmp_path)!r}), stop_s=1.5) as g:\n"
        f"    g.start('stubborn', [sys.executable, '-c', {stubborn!r}])\n"
        f"    while not g.log_file('stubborn').read_text(): time.sleep(0.02)\n"
        "    print(g.pid('stubborn'), flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen(
        python(verb), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.wait(timeout=30)
    assert not runs(child)


def test_a_group_inside_a_group_ends_with_the_outer_one(tmp_path: Path) -> None:
    """A verb `site` that `federate` started is killed with all that the site started."""
    inner = (
        "import sys, time\nfrom pathlib import Path\nfrom fl.process_group import ProcessGroup\n"
        f"with ProcessGroup(folder=Path({str(tmp_path / 'inner')!r}), "
        f"logs=Path({str(tmp_path / 'logs')!r})) as g:\n"
        f"    g.start('deep', [sys.executable, '-c', {SLEEP!r}])\n"
        "    print(g.pid('deep'), flush=True)\n    time.sleep(600)"
    )
    with ProcessGroup(folder=tmp_path / "outer", logs=tmp_path / "logs") as group:
        group.start("inner", python(inner))
        deep = child_of(group, "inner")
        os.kill(group.pid("inner"), signal.SIGKILL)  # it cannot tidy up any more
        until(lambda: not group.alive("inner"))
        assert runs(deep)
        group.ended()
        assert not runs(deep)


@pytest.mark.parametrize("alive", [True, False])
def test_orphans_of_a_killed_group_are_ended_and_those_of_a_living_one_are_not(
    tmp_path: Path, alive: bool
) -> None:
    groups = tmp_path / "groups"
    holder = (
        "import sys, time\nfrom pathlib import Path\nfrom fl.process_group import ProcessGroup\n"
        f"with ProcessGroup(folder=Path({str(groups)!r}), logs=Path({str(tmp_path)!r})) as g:\n"
        f"    g.start('left', [sys.executable, '-c', {SLEEP!r}])\n"
        "    print(g.pid('left'), flush=True)\n    time.sleep(600)"
    )
    process = subprocess.Popen(python(holder), stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    left = int(process.stdout.readline())
    cleaned: list[Path] = []
    try:
        if not alive:
            process.kill()
            process.wait()
        end_orphans(groups, clean=cleaned.append)
        assert runs(left) is alive
        assert bool(cleaned) is not alive
    finally:
        process.kill()
        process.wait()
        end_orphans(groups)
    assert not runs(left)


def test_marks_are_told_apart_exactly(tmp_path: Path) -> None:
    environment = {**os.environ, MARKS: "12 /a b;7 /c"}
    process = subprocess.Popen(python(SLEEP), env=environment, stdout=subprocess.DEVNULL)
    try:
        assert [p.pid for p in marked("12 /a b")] == [process.pid]
        assert [p.pid for p in marked("7 /c")] == [process.pid]
        assert list(marked("12 /a")) == []
    finally:
        process.kill()
        process.wait()


def test_a_tethered_one_is_told_that_its_parent_was_killed(tmp_path: Path) -> None:
    waits = "import sys; print('up', flush=True); sys.stdin.read(); print('let go', flush=True)"
    starts = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from fl.process_group import ProcessGroup\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "with ProcessGroup(folder=folder / 'groups', logs=folder / 'logs') as group:\n"
        f"    group.start('child', [sys.executable, '-c', {waits!r}], tethered=True)\n"
        f"    group.start('other', [sys.executable, '-c', {SLEEP!r}])\n"
        "    time.sleep(600)\n"
    )
    log = tmp_path / "logs" / "child.log"
    parent = subprocess.Popen(python(starts))
    try:
        until(lambda: log.is_file() and log.read_text() == "up\n")
    finally:
        parent.kill()
        parent.wait()
    until(lambda: log.read_text() == "up\nlet go\n")
    end_orphans(tmp_path / "groups")
