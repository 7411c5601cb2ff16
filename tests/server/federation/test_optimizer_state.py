"""The server optimiser's state on disk: exact, whole or not there, and with the right release."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fl.aggregation.server_optimizer import server_optimizer
from fl.errors import FederationError
from server.federation.optimizer_state import load, save
from tests.fl.adapters import drawn


def test_two_and_two_steps_with_a_disk_between_are_four(tmp_path: Path) -> None:
    unbroken, first = server_optimizer("yogi", 0.003), server_optimizer("yogi", 0.003)
    expected = [unbroken.step(drawn(seed)) for seed in range(4)]
    for seed in range(2):
        first.step(drawn(seed))
        save(tmp_path, first.state(), release_number=seed + 1)
    kept = load(tmp_path, release_number=2)
    assert kept is not None
    assert kept.keys() == first.state().keys()
    assert all(kept[name].tobytes() == t.tobytes() for name, t in first.state().items())
    second = server_optimizer("yogi", 0.003)
    second.load(kept)
    for seed in range(2, 4):
        step = second.step(drawn(seed))
        assert all(
            step.tensors[name].tobytes() == tensor.tobytes()
            for name, tensor in expected[seed].tensors.items()
        )


def at(number: int) -> dict[str, np.ndarray]:
    return {"m.x": np.full((2, 3), number / 3), "v.x": np.full((2, 3), number / 7)}


def found(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    for number in (1, 2, 3, 5):  # 4 was damaged and its number not given again
        save(tmp_path, at(number), release_number=number)
    assert found(tmp_path) == {"state-3.safetensors", "state-5.safetensors"}
    assert load(tmp_path, release_number=4) is None
    before = load(tmp_path, release_number=3)
    assert before is not None
    assert before["m.x"].tobytes() == at(3)["m.x"].tobytes()
    save(tmp_path, at(4), release_number=4)  # 5 was lost, the federation went on from 3
    assert found(tmp_path) == {"state-3.safetensors", "state-4.safetensors"}


def test_the_state_of_the_current_release_outlives_refused_candidates(tmp_path: Path) -> None:
    save(tmp_path, at(3), release_number=3)
    for refused in (4, 5, 6):
        save(tmp_path, at(refused), release_number=refused, keep=(3,))
    assert found(tmp_path) == {f"state-{number}.safetensors" for number in (3, 5, 6)}


def test_no_state_is_no_file(tmp_path: Path) -> None:
    save(tmp_path / "optimizer", {}, release_number=1)
    assert not (tmp_path / "optimizer").exists()
    assert load(tmp_path / "optimizer", release_number=1) is None


class Killed(BaseException):
    """Stands for a SIGKILL."""


@pytest.mark.parametrize("step", ["fsync", "replace", "unlink"])
def test_a_kill_leaves_the_state_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    for number in (1, 2):
        save(tmp_path, at(number), release_number=number)

    def kill(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(os if step == "fsync" else Path, step, kill)
        with pytest.raises(Killed):
            save(tmp_path, at(3), release_number=3)
    before = load(tmp_path, release_number=2)
    assert before is not None
    assert before["v.x"].tobytes() == at(2)["v.x"].tobytes()
    save(tmp_path, at(3), release_number=3)
    assert found(tmp_path) == {"state-2.safetensors", "state-3.safetensors"}


def test_a_damaged_or_exchanged_file_is_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        save(tmp_path, at(number), release_number=number)
    good = (tmp_path / "state-2.safetensors").read_bytes()
    for bad in (
        (tmp_path / "state-1.safetensors").read_bytes(),
        good[:-1],
        good[:-1] + bytes([good[-1] ^ 1]),
        b"",
    ):
        (tmp_path / "state-2.safetensors").write_bytes(bad)
        with pytest.raises(FederationError, match=r"state-2\.safetensors is damaged. Remove it"):
            load(tmp_path, release_number=2)


def test_a_disk_that_refuses_says_so(tmp_path: Path) -> None:
    (tmp_path / "optimizer").write_text("a file")
    with pytest.raises(FederationError, match="could not be saved"):
        save(tmp_path / "optimizer", at(1), release_number=1)
