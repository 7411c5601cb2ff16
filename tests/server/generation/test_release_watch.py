"""Publish, roll back, damage, exchange: what the engine is told, and what is said, once."""

import os
import queue
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fl.adapter import Adapter
from fl.errors import AdapterError, ReleaseError
from fl.release import AdapterRelease
from fl.settings import Settings, load
from fl.signing import signing_key
from server.generation.release_watch import CloudReleaseWatch, current_release
from server.releases import Releases
from server.tuning.store import cloud_releases
from tests.fl.releases import OTHER_KEY
from tests.server.generation.test_adapter_merge import drawn
from tests.server.published import flip_a_bit


class Engine:
    """Stands for the engine: keeps the numbers it was given, None for the base."""

    def __init__(self) -> None:
        self.given: queue.Queue[int | None] = queue.Queue()
        self.said: list[str] = []
        self.refuses = False

    def swap(self, release: AdapterRelease | None) -> None:
        if self.refuses:
            raise AdapterError("does not fit")
        self.given.put(None if release is None else release.number)

    def taken(self) -> list[int | None]:
        """What it was given since the last time."""
        return [self.given.get() for _ in range(self.given.qsize())]


@pytest.fixture
def settings(tiny_cloud: Path, tmp_path: Path) -> Settings:
    return load([f"var={tmp_path / 'var'}", f"cloud.model={tiny_cloud}"])


@pytest.fixture
def releases(settings: Settings) -> Releases:
    return cloud_releases(settings, signing_key(settings))


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def watch(settings: Settings, engine: Engine) -> CloudReleaseWatch:
    return CloudReleaseWatch(settings, engine.swap, engine.said.append)


def publish(releases: Releases, adapter: Adapter, *, factor: float = 1.0) -> AdapterRelease:
    """Make the next release of this adapter, some numbers times a factor, current."""
    tensors = {name: tensor * factor for name, tensor in adapter.tensors.items()}
    made = releases.publish(
        Adapter(spec=adapter.spec, tensors=tensors),
        round_number=0,
        method="lora",
        parent_digest="",
        metrics={},
    )
    releases.promote(made.number, why="better")
    return made


def damage(folder: Path) -> None:
    """Flip a bit; a file system with coarse times must show it too."""
    flip_a_bit(folder)
    os.utime(folder / "adapter_model.safetensors", (1, 1))


def test_it_follows_publishing_and_rolling_back(
    releases: Releases, watch: CloudReleaseWatch, engine: Engine, tiny_cloud: Path
) -> None:
    watch.look()
    assert engine.taken() == []
    for number in range(3):
        publish(releases, drawn(tiny_cloud), factor=1.0 + number)
        watch.look()
        watch.look()
        assert engine.taken() == [number]
    releases.publish(
        drawn(tiny_cloud), round_number=3, method="lora", parent_digest="", metrics={}
    )  # a candidate
    watch.look()
    assert engine.taken() == []
    releases.rollback(None, why="by hand")
    watch.look()
    assert engine.taken() == [1]
    releases.rollback(0, why="by hand")
    watch.look()
    assert engine.taken() == [0]
    shutil.rmtree(releases.folder)
    watch.look()
    watch.look()
    assert engine.taken() == [None]
    assert engine.said == []


def test_what_is_running_already_is_not_swapped(
    settings: Settings, releases: Releases, engine: Engine, tiny_cloud: Path
) -> None:
    publish(releases, drawn(tiny_cloud))
    running = current_release(settings)
    watch = CloudReleaseWatch(settings, engine.swap, engine.said.append, running=running)
    watch.look()
    assert engine.taken() == []
    publish(releases, drawn(tiny_cloud), factor=2.0)
    watch.look()
    assert engine.taken() == [1]
    # a folder made anew counts from 0 again
    shutil.rmtree(releases.folder)
    for factor in (3.0, 4.0):
        publish(releases, drawn(tiny_cloud), factor=factor)
    watch.look()
    assert engine.taken() == [1]


def test_a_damaged_release_is_refused_once_and_taken_when_it_is_whole(
    releases: Releases, watch: CloudReleaseWatch, engine: Engine, tiny_cloud: Path
) -> None:
    for factor in (1.0, 2.0):
        publish(releases, drawn(tiny_cloud), factor=factor)
        watch.look() if factor == 1.0 else None
    damage(releases.folder / "1")
    for _ in range(3):
        watch.look()
    assert engine.taken() == [0]
    [said] = engine.said
    assert said.startswith("the cloud's current release is refused, cloud/0 stays: ")
    assert "adapter_model.safetensors has sha256" in said
    flip_a_bit(releases.folder / "1")  # whole again
    watch.look()
    assert engine.taken() == [1]
    damage(releases.folder / "1")  # which is running: it stays, but people are told
    watch.look()
    assert engine.taken() == []
    assert "cloud/1 stays" in engine.said[-1]
    (releases.folder / "current").write_text("nonsense\n")
    watch.look()
    assert "must hold a release number, found 'nonsense'" in engine.said[-1]
    releases.rollback(0, why="by hand")
    watch.look()
    assert engine.taken() == [0]
    assert len(engine.said) == 3


def test_only_the_clouds_own_releases_for_this_base_are_used(
    settings: Settings,
    releases: Releases,
    watch: CloudReleaseWatch,
    engine: Engine,
    tiny_cloud: Path,
) -> None:
    adapter = drawn(tiny_cloud)
    publish(cloud_releases(settings, OTHER_KEY), adapter)
    watch.look()
    assert "The signature does not belong to this manifest" in engine.said[-1]
    other = Adapter(
        spec=replace(adapter.spec, base_model_fingerprint="0" * 64), tensors=adapter.tensors
    )
    publish(releases, other)
    watch.look()
    assert "was made for the base model 000000000000..." in engine.said[-1]
    publish(Releases(releases.folder, federation="001", key=signing_key(settings)), adapter)
    watch.look()
    assert "expected release 2 of federation cloud" in engine.said[-1]
    engine.refuses = True
    publish(releases, adapter)
    watch.look()
    watch.look()
    assert engine.said[-1].endswith("the base model stays: does not fit")
    assert len(engine.said) == 4
    assert engine.taken() == []
    engine.refuses = False
    publish(releases, adapter)
    watch.look()
    assert engine.taken() == [4]


def test_the_thread_looks_by_itself_and_ends(
    releases: Releases, watch: CloudReleaseWatch, engine: Engine, tiny_cloud: Path
) -> None:
    watch.start()
    publish(releases, drawn(tiny_cloud))
    assert engine.given.get(timeout=60) == 0
    releases.aliases.move("current", 7, why="by hand")  # which is not there
    while not engine.said:
        time.sleep(0.01)
    assert "There is no release 7" in engine.said[0]
    watch.close()
    watch.close()
    publish(releases, drawn(tiny_cloud), factor=2.0)
    assert engine.taken() == []


def test_what_a_service_starts_with(
    settings: Settings,
    releases: Releases,
    tiny_cloud: Path,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    bare = load([f"var={tmp_path / 'bare'}", f"cloud.model={tiny_cloud}"])
    assert current_release(bare) is None
    assert not (tmp_path / "bare").exists()  # neither a key nor a folder was made
    adapter = drawn(tiny_cloud)
    made = publish(releases, adapter)
    found = current_release(settings)
    assert found is not None
    assert (found.number, found.manifest) == (0, made.manifest)
    publish(
        releases,
        Adapter(
            spec=replace(adapter.spec, base_model_fingerprint="0" * 64), tensors=adapter.tensors
        ),
    )
    assert current_release(settings) is None
    assert "was made for the base model 000000000000..." in caplog.text
    flip_a_bit(releases.folder / "1")
    with pytest.raises(ReleaseError, match=r"cannot be used: .* releases rollback"):
        current_release(settings)
