"""The shelf: only what the cloud signed, the right personal part for every round, nothing torn."""

import threading
from pathlib import Path

import pytest

from clients.adapter_shelf import AdapterShelf, newest_shelf, open_shelf, shelves_in_use
from fl import adapter_file
from fl.adapter import Adapter, digest
from fl.errors import ReleaseError
from fl.release_file import sign_release, write_release
from fl.settings import Settings, load
from fl.signing import make_signing_key
from tests.fl.adapters import drawn
from tests.fl.releases import CLOUD_KEY, OTHER_KEY, signed


@pytest.fixture
def shelf(tmp_path: Path) -> AdapterShelf:
    return AdapterShelf(tmp_path / "001", CLOUD_KEY)


def names(shelf: AdapterShelf) -> list[str]:
    return sorted(path.name for path in shelf.folder.iterdir())


def seed_of(part: Adapter | None) -> int | None:
    """Which of the adapters that the tests draw this is."""
    if part is None:
        return None
    return next(seed for seed in range(100) if digest(drawn(seed)) == digest(part))


# --- releases ---


def test_a_release_comes_back_as_it_was_signed(shelf: AdapterShelf) -> None:
    assert shelf.release(3) is None
    assert shelf.current() is None
    release = signed(1, number=3)
    shelf.keep_release(release)
    found = shelf.release(3)
    assert found is not None
    assert (found.manifest, found.signature) == (release.manifest, release.signature)
    assert digest(found.shared) == digest(release.shared)
    assert shelf.current() is None  # kept is not in use
    shelf.use(3)
    assert (shelf.folder / "current").read_text() == "3\n"
    assert names(shelf) == ["current", "release-3"]


def test_the_one_in_use_and_the_newest_two_stay(shelf: AdapterShelf) -> None:
    for number in (1, 2, 3, 4):
        shelf.keep_release(signed(number, number=number))
        if number == 1:
            shelf.use(1)
    assert names(shelf) == ["current", "release-1", "release-3", "release-4"]
    shelf.use(4)
    assert names(shelf) == ["current", "release-3", "release-4"]
    shelf.keep_release(signed(2, number=2))  # a rollback: it stays until it is in use
    shelf.use(2)
    assert names(shelf) == ["current", "release-2", "release-3", "release-4"]


def test_what_the_cloud_says_is_current_stays_too(shelf: AdapterShelf) -> None:
    for number in (0, 1, 2, 3):
        shelf.keep_release(signed(number, number=number), beside=0)
    assert names(shelf) == ["release-0", "release-2", "release-3"]


def test_a_release_that_is_not_here_cannot_be_used(shelf: AdapterShelf) -> None:
    shelf.keep_release(signed(1, number=1))
    with pytest.raises(ReleaseError, match="holds no release 2"):
        shelf.use(2)


def test_a_foreign_or_changed_release_is_never_loaded(shelf: AdapterShelf) -> None:
    write_release(shelf.folder / "release-1", signed(1, number=1, key=OTHER_KEY))
    shelf.keep_release(signed(2, number=2))
    shelf.use(2)
    tensors = shelf.folder / "release-2" / "adapter_model.safetensors"
    tensors.write_bytes(tensors.read_bytes()[:-1] + b"\x01")
    with pytest.raises(ReleaseError, match="signature"):
        shelf.release(1)
    with pytest.raises(ReleaseError, match=r"adapter_model\.safetensors has sha256"):
        shelf.current()
    shelf.keep_release(signed(2, number=2))  # a sound copy takes its place
    assert shelf.current() is not None


def test_an_alias_to_nothing_says_so(shelf: AdapterShelf) -> None:
    shelf.keep_release(signed(1, number=1))
    (shelf.folder / "current").write_text("7\n")
    with pytest.raises(ReleaseError, match="release 7 is in use, but is not here"):
        shelf.current()
    (shelf.folder / "current").write_text("newest")
    with pytest.raises(ReleaseError, match="must hold the number"):
        shelf.current()


# --- personal parts ---


def test_a_round_starts_from_the_round_before_and_settling_from_its_own(
    shelf: AdapterShelf,
) -> None:
    """By hand: rounds 1 and 2, settling after 2, then round 3."""
    assert shelf.personal() is None
    for round_number, settled in ((1, False), (2, False), (2, True)):
        shelf.keep_personal(
            drawn(10 * round_number + settled), round_number=round_number, settled=settled
        )
    assert names(shelf) == ["personal-1", "personal-2", "personal-2-settled"]
    starts = {n: seed_of(shelf.personal_before(n)) for n in (1, 2, 3, 9)}
    assert starts == {1: None, 2: 10, 3: 21, 9: 21}
    settles = {n: seed_of(shelf.personal_after(n)) for n in (0, 1, 2, 9)}
    assert settles == {0: None, 1: 10, 2: 20, 9: 20}
    assert seed_of(shelf.personal()) == 21


def test_the_newest_three_parts_stay(shelf: AdapterShelf) -> None:
    for round_number in (9, 10, 11, 12):
        shelf.keep_personal(drawn(round_number), round_number=round_number)
    assert names(shelf) == ["personal-10", "personal-11", "personal-12"]


def test_a_round_far_back_is_kept_and_drops_nothing_newer(shelf: AdapterShelf) -> None:
    """The cloud went back to an old release: rounds are repeated, the next one starts from them."""
    for round_number in (7, 8, 9, 3):
        shelf.keep_personal(drawn(round_number), round_number=round_number)
    assert names(shelf) == ["personal-3", "personal-7", "personal-8", "personal-9"]
    assert seed_of(shelf.personal_before(4)) == 3


def test_a_repeated_round_replaces_its_part(shelf: AdapterShelf) -> None:
    for seed in (1, 2):
        shelf.keep_personal(drawn(seed), round_number=4)
        assert seed_of(shelf.personal()) == seed
    assert names(shelf) == ["personal-4"]


# --- whole or not at all ---


def test_a_write_that_dies_leaves_the_part_before(
    shelf: AdapterShelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf.keep_personal(drawn(1), round_number=1)

    def full_disk(folder: Path, _: object) -> None:
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(adapter_file, "write", full_disk)
    for round_number in (1, 2):
        with pytest.raises(OSError, match="No space"):
            shelf.keep_personal(drawn(2), round_number=round_number)
    assert seed_of(shelf.personal()) == 1
    assert names(shelf) == ["personal-1"]


def test_a_death_between_the_renames_is_recovered(shelf: AdapterShelf) -> None:
    shelf.keep_personal(drawn(1), round_number=1)
    (shelf.folder / "personal-1").rename(shelf.folder / "personal-1.before")
    assert seed_of(shelf.personal()) == 1


def test_readers_never_see_a_replacement_half_done(shelf: AdapterShelf) -> None:
    """The release watch, a learner and a person use one shelf at the same time."""
    shelf.keep_personal(drawn(1), round_number=1)
    failures: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                assert shelf.personal() is not None
        except Exception as error:  # noqa: BLE001 - the test raises it
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(40):
        shelf.keep_personal(drawn(1), round_number=1)
    done.set()
    for reader in readers:
        reader.join()
    assert not failures


# --- shelves of several federations ---


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load([f"var={tmp_path}", f"keys={tmp_path / 'pki'}"], config="configs/base.yaml")


def test_the_newest_shelf_is_of_the_last_federation_with_a_release_in_use(
    settings: Settings,
) -> None:
    key = make_signing_key(settings.keys_dir)
    assert newest_shelf(settings, "oslo") is None
    for federation, used in (("001", True), ("003", True), ("0010", True), ("0011", False)):
        shelf = open_shelf(settings, "oslo", federation)
        shelf.keep_release(
            sign_release(
                drawn(1),
                federation=federation,
                number=4,
                parent_digest="",
                method="fedavg",
                round_number=4,
                metrics={},
                key=key,
            )
        )
        if used:
            shelf.use(4)
    open_shelf(settings, "oslo", "0012").keep_personal(drawn(2), round_number=1)
    found = [shelf.federation for shelf in shelves_in_use(settings, "oslo")]
    assert found == ["0010", "003", "001"]
    open_shelf(settings, "oslo", "0010").use_none()
    shelf_in_use = newest_shelf(settings, "oslo")
    assert shelf_in_use is not None
    assert shelf_in_use.federation == "003"


def test_without_the_clouds_key_nothing_is_opened(settings: Settings) -> None:
    with pytest.raises(ReleaseError, match=r"signing\.pub"):
        open_shelf(settings, "oslo", "001")
