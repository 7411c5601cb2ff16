"""The shelf: what was kept comes back, and an interrupted write leaves what was there before."""

from pathlib import Path

import pytest

from clients.adapter_shelf import AdapterShelf, newest_shelf, open_shelf
from fl import adapter_file
from fl.adapter import digest
from fl.settings import load
from tests.fl.adapters import drawn


def test_the_newest_release_counts_and_older_ones_go(tmp_path: Path) -> None:
    shelf = AdapterShelf(tmp_path)
    assert shelf.release() is None
    for number in (2, 10):
        shelf.keep_release(number, drawn(number))
    found = shelf.release()
    assert found is not None
    assert (found[0], digest(found[1])) == (10, digest(drawn(10)))
    assert [path.name for path in tmp_path.iterdir()] == ["release-10"]


def test_a_personal_part_is_replaced_whole(tmp_path: Path) -> None:
    shelf = AdapterShelf(tmp_path)
    assert shelf.personal() is None
    for seed in (1, 2):
        shelf.keep_personal(drawn(seed))
        found = shelf.personal()
        assert found is not None
        assert digest(found) == digest(drawn(seed))
    assert [path.name for path in tmp_path.iterdir()] == ["personal"]


def test_a_write_that_dies_leaves_the_part_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = AdapterShelf(tmp_path)
    shelf.keep_personal(drawn(1))

    def full_disk(folder: Path, _: object) -> None:
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(adapter_file, "write", full_disk)
    with pytest.raises(OSError, match="No space"):
        shelf.keep_personal(drawn(2))
    found = shelf.personal()
    assert found is not None
    assert digest(found) == digest(drawn(1))
    assert [path.name for path in tmp_path.iterdir()] == ["personal"]


def test_a_death_between_the_renames_is_recovered(tmp_path: Path) -> None:
    shelf = AdapterShelf(tmp_path)
    shelf.keep_personal(drawn(1))
    (tmp_path / "personal").rename(tmp_path / "personal.before")
    found = shelf.personal()
    assert found is not None
    assert digest(found) == digest(drawn(1))


def test_the_newest_shelf_is_of_the_last_federation_that_delivered(tmp_path: Path) -> None:
    settings = load([f"var={tmp_path}"], config="configs/base.yaml")
    assert newest_shelf(settings, "oslo") is None
    open_shelf(settings, "oslo", "001").keep_release(4, drawn(1))
    open_shelf(settings, "oslo", "002").keep_personal(drawn(2))
    shelf = newest_shelf(settings, "oslo")
    assert shelf is not None
    assert shelf.folder.name == "001"
