"""One working cloud a federation, whatever becomes of it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fl.errors import ReleaseError
from server.releases import lock
from tests.server.published import with_promoted

HOLD = """
import pathlib, sys, time
from server.releases import lock
with lock(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_second_cloud_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 2)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said = rf"Another cloud \(pid {holder.pid}\) works on {tmp_path}"
        with pytest.raises(ReleaseError, match=said), lock(tmp_path):
            pass
        assert releases.rollback(None, why="by hand").number == 0  # needs no lock
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with lock(tmp_path):
        pass


def test_the_lock_is_free_when_its_holder_has_ended_or_failed(tmp_path: Path) -> None:
    with pytest.raises(KeyError), lock(tmp_path / "releases"):
        raise KeyError
    held, refused = lock(tmp_path / "releases"), pytest.raises(ReleaseError, match="Another cloud")
    with held, refused, lock(tmp_path / "releases"):
        pass
    with lock(tmp_path / "releases"):
        pass


def test_a_place_that_cannot_be_locked_says_so(tmp_path: Path) -> None:
    (tmp_path / "releases").write_text("a file")
    with pytest.raises(ReleaseError, match="cannot be opened"), lock(tmp_path / "releases"):
        pass
