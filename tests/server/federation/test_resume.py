"""A cloud that is killed at any step on the disk goes on to the same bytes.

Every call that makes something durable is a step; the process "dies" at it, and stays dead: nothing
it would still do reaches the disk. Of a file that is being made durable the end is lost, as after a
power cut. The sites live on, as they do in a deployment.
"""

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, Message

from fl.errors import NetGPTError
from fl.flower_records import CONTRIBUTE
from fl.settings import Settings
from server.federation.round_log import RoundLog, read_status
from server.federation.strategy import federate
from tests.direct_grid import DirectGrid, simulated_nodes
from tests.server.federation.fake_sites import (
    FakeSites,
    asked,
    bytes_of,
    fake_settings,
    is_of,
)

SITES = ("oslo", "rome")
RENAME, UNLINK = os.rename, os.unlink


class Killed(BaseException):
    """No `except Exception` stops it."""


class Death:
    """Kills at the n-th step in a federation's folder, counted from 0.

    status.json does not count: what it says is for people, and nothing is read from it. Waiting for
    the disk is left out: the machine lives on.
    """

    def __init__(self, at: int, patch: pytest.MonkeyPatch) -> None:
        self.at, self.steps = at, 0
        patch.setattr(os, "replace", self._guarded(quick_replace))
        for name in ("rename", "unlink", "mkdir"):
            patch.setattr(os, name, self._guarded(getattr(os, name)))
        patch.setattr(os, "fsync", self._fsync)

    def _guarded(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*paths: Any, **named: Any) -> Any:
            counts = "federations" in str(paths[0]) and not str(paths[0]).endswith(".status.json")
            if self.steps > self.at or (counts and self._is_the_last()):
                raise Killed
            return step(*paths, **named)

        return guarded

    def _fsync(self, handle: int) -> None:
        if self._is_the_last():
            about = os.fstat(handle)
            if stat.S_ISREG(about.st_mode):
                file = os.readlink(f"/proc/self/fd/{handle}")
                os.truncate(file, max(0, about.st_size - 3))
            raise Killed

    def _is_the_last(self) -> bool:
        self.steps += 1
        return self.steps > self.at


def quick_replace(file: str | Path, target: str | Path) -> None:
    """As os.replace; over a file that is there that one waits for the disk, on some systems."""
    with suppress(FileNotFoundError):
        UNLINK(target)
    RENAME(file, target)


def poison(request: Message, reply: Message) -> Message:
    """Rome's first update goes far into the wrong direction: release 1 will be kept back."""
    if is_of(request, CONTRIBUTE, ["rome"]) and asked(request)[1].round_number == 1:
        arrays = reply.content.array_records["adapter"]
        for name, array in arrays.items():
            arrays[name] = Array((-20 * array.numpy()).astype(np.float32))
    return reply


def carry_on(settings: Settings, sites: FakeSites) -> Path:
    """Start the federation, or go on with it; return its folder."""
    federation = settings.run_dir / "federations" / "001"
    flower = DirectGrid(sites.app, simulated_nodes(2, {}), tamper=poison)
    federate(flower, settings, folder=federation, run_id="7")
    return federation


def three_rounds(folder: Path) -> tuple[Settings, dict[str, bytes]]:
    """Settings of the federation, and all its bytes when it is left alone."""
    settings = fake_settings(
        folder,
        *("rounds=3", "federation.server_optimizer=adam", "federation.gate_tolerance=0.01"),
        *("federation.server_learning_rate=0.05", "federation.measure_error=false"),
        sites=SITES,
    )
    unbroken = carry_on(settings, FakeSites(SITES))
    assert [r.round_number for r in RoundLog(unbroken).reports()] == [1, 2, 3]
    return settings, bytes_of(unbroken)


def test_a_kill_at_every_step_ends_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, expected = three_rounds(tmp_path)
    assert expected["releases/current"] == b"3\n"
    verdicts = expected["verdicts.jsonl"].decode().splitlines()
    assert ['"passed": true' in line for line in verdicts] == [False, True, True]

    step = 0
    while True:
        mine, sites = replace(settings, var=str(tmp_path / str(step))), FakeSites(SITES)
        with monkeypatch.context() as patch, suppress(Killed):
            death = Death(step, patch)
            carry_on(mine, sites)
        if death.steps <= step:
            break  # it ended before there was a step to be killed at
        _goes_on_to(expected, mine, sites, said=f"killed at step {step}", patch=monkeypatch)
        step += 1
    assert step > 100


def test_a_full_disk_at_every_step_ends_in_a_sentence_and_then_in_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, expected = three_rounds(tmp_path)

    step = 0
    while True:
        mine, sites = replace(settings, var=str(tmp_path / str(step))), FakeSites(SITES)
        left = step

        def full(handle: int) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            patch.setattr(os, "replace", quick_replace)
            with suppress(NetGPTError):
                carry_on(mine, sites)
        if left >= 0:
            break
        status = read_status(mine.run_dir / "federations" / "001")
        assert status is None or (status.state, "No space" in status.message) == ("failed", True)
        _goes_on_to(expected, mine, sites, said=f"full at step {step}", patch=monkeypatch)
        step += 1
    assert step > 50


def _goes_on_to(
    expected: dict[str, bytes],
    settings: Settings,
    sites: FakeSites,
    *,
    said: str,
    patch: pytest.MonkeyPatch,
) -> None:
    with patch.context() as fast:
        fast.setattr(os, "fsync", lambda handle: None)
        fast.setattr(os, "replace", quick_replace)
        federation = carry_on(settings, sites)
    assert bytes_of(federation) == expected, said
    status = read_status(federation)
    assert status is not None
    assert status.state == "completed"
    assert [r.round_number for r in RoundLog(federation).reports()] == [1, 2, 3], said
