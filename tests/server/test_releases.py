"""Releases: numbered, immutable, verified; a killed or failing publish leaves the old current."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fl import adapter_file
from fl.adapter import digest
from fl.errors import ReleaseError
from fl.release import AdapterRelease
from server.releases import MANIFEST, Releases
from tests.fl.adapters import drawn


def publish(releases: Releases, seed: int) -> AdapterRelease:
    return releases.publish(
        drawn(seed),
        round_number=seed,
        method="fedavg",
        parent_digest="abc",
        metrics={"mean_heldout_loss": 2.0},
    )


def test_numbers_rise_and_current_follows(tmp_path: Path) -> None:
    releases = Releases(tmp_path / "releases")
    assert releases.newest() is None
    first, second = publish(releases, 0), publish(releases, 1)
    assert (first.number, second.number) == (0, 1)
    assert releases.current().number == 1
    newest = releases.newest()
    assert newest is not None
    assert digest(newest.shared) == digest(drawn(1))
    assert newest.metrics == {"mean_heldout_loss": 2.0}
    assert (newest.method, newest.round_number, newest.parent_digest) == ("fedavg", 1, "abc")
    assert (tmp_path / "releases" / "current").read_text() == "1\n"
    releases.make_current(0)
    assert releases.current().number == 0
    assert digest(adapter_file.read(tmp_path / "releases" / "0")) == digest(drawn(0))


def test_the_manifest_says_what_the_release_is(tmp_path: Path) -> None:
    publish(Releases(tmp_path), 0)
    manifest = json.loads((tmp_path / "0" / MANIFEST).read_text())
    assert set(manifest["files"]) == {"adapter_config.json", "adapter_model.safetensors"}
    assert manifest["base_model_fingerprint"] == "0" * 64
    assert (manifest["rank"], manifest["alpha"]) == (2, 4.0)
    assert manifest["libraries"]["flwr"] == "1.41.0"
    assert "created" in manifest


def _flip_a_bit(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def _truncate(folder: Path) -> None:
    file = folder / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-7])


def _swap_tensors(folder: Path) -> None:
    adapter_file.write(folder, drawn(9))


def _swap_folder(folder: Path) -> None:
    """The files of release 0, manifest included, under the number of release 1."""
    for file in (folder.parent / "0").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())


def _say_another_base(folder: Path) -> None:
    file = folder / MANIFEST
    text = file.read_text()
    file.write_text(text.replace("0" * 64, "1" * 64))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (_flip_a_bit, r"adapter_model\.safetensors has sha256"),
        (_truncate, r"adapter_model\.safetensors has sha256"),
        (_swap_tensors, r"adapter_model\.safetensors has sha256"),
        (_swap_folder, "says number = 0, found 1"),
        (_say_another_base, "says base_model_fingerprint"),
        (lambda folder: (folder / MANIFEST).unlink(), "manifest.json is missing"),
        (lambda folder: (folder / MANIFEST).write_text("{"), "not JSON"),
        (lambda folder: (folder / "adapter_config.json").unlink(), "adapter_config.json"),
        (lambda folder: (folder / "extra.bin").write_bytes(b"x"), r"extra\.bin"),
    ],
)
def test_a_damaged_release_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    releases = Releases(tmp_path)
    publish(releases, 0)
    publish(releases, 1)
    damage(tmp_path / "1")
    with pytest.raises(ReleaseError, match=said):
        releases.current()
    assert releases.load(0).number == 0  # the one before is as good as ever


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


@pytest.mark.parametrize("nth", range(1, 9))
def test_a_kill_at_any_step_leaves_a_good_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Kill before the n-th durable step (fsync, rename, replace) of a publish."""
    releases = Releases(tmp_path)
    publish(releases, 0)
    steps = 0

    def killing(step: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == nth:
                raise Killed
            return step(*arguments)

        return run

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", killing(os.fsync))
        patched.setattr(Path, "rename", killing(Path.rename))
        patched.setattr(Path, "replace", killing(Path.replace))
        with pytest.raises(Killed):
            publish(releases, 1)

    assert Releases(tmp_path).current().number == 0
    after = Releases(tmp_path)
    newest = after.newest()  # whole or not there at all
    assert newest is not None
    made = publish(after, 2)
    assert made.number == newest.number + 1
    assert after.current().number == made.number


def test_a_full_disk_leaves_the_old_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases = Releases(tmp_path)
    publish(releases, 0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(adapter_file, "write", full)
    with pytest.raises(ReleaseError, match="No space left on device"):
        publish(releases, 1)
    assert releases.current().number == 0
    assert {entry.name for entry in tmp_path.iterdir()} == {"0", "current"}


def test_no_current_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="simulate"):
        Releases(tmp_path).current()
