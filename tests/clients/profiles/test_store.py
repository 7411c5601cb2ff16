"""Profiles on the disk: whole or not there, for their owner alone, and gone when erased."""

import stat
import threading
from pathlib import Path

import pytest

from clients.profiles.store import ProfileStore
from fl.errors import ProfileError, UnknownPerson

FACTS = {"person": "Quincewood", "wish": "a window seat"}


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return ProfileStore(tmp_path / "profiles")


def held(folder: Path, text: str) -> list[str]:
    """Files below whose name or bytes hold the text."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    return [f.name for f in files if text in f.name or text.encode() in f.read_bytes()]


def test_facts_are_set_changed_removed_and_replaced(store: ProfileStore, tmp_path: Path) -> None:
    made = store.set("ada", FACTS)
    assert store.set("ada", {"wish": "", "diet": "no nuts"}).facts == {
        "person": "Quincewood",
        "diet": "no nuts",
    }
    assert store.set("ada", {"wish": "no ice"}, afresh=True).facts == {"wish": "no ice"}
    assert store.read("ada").since == made.since
    assert store.people() == ["ada"]
    file = tmp_path / "profiles" / "ada.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    with pytest.raises(ProfileError):
        store.set("ada", {"wish": "a;b"})
    assert store.read("ada").facts == {"wish": "no ice"}


@pytest.mark.parametrize("person", ["ben", "../ada", "lock", ""])
def test_who_is_not_there_is_unknown_and_nothing_is_made(
    store: ProfileStore, tmp_path: Path, person: str
) -> None:
    (tmp_path / "ada.json").write_text("{}")
    for act in (
        lambda: store.read(person),
        lambda: store.set(person, FACTS, make=False),
        lambda: store.erase(person),
    ):
        with pytest.raises(ProfileError) as refused:
            act()
        assert not person or person not in str(refused.value).split()
    assert not (tmp_path / "profiles").exists()


def test_erasing_leaves_no_byte_not_even_of_a_killed_writer(
    store: ProfileStore, tmp_path: Path
) -> None:
    store.set("ada", FACTS)
    store.add_to_history(store.read("ada"), "cafe")
    store.set("adam", {"wish": "no ice"})
    aside = tmp_path / "profiles" / ".ada.json-k1ll3d"
    aside.write_text('{"person": "ada", "facts": {"person": "Quincewood"')
    assert len(held(tmp_path, "Quincewood")) == 2
    store.erase("ada")
    assert held(tmp_path, "Quincewood") == []
    assert held(tmp_path, "ada.json") == []
    assert held(tmp_path, "cafe") == []
    assert store.people() == ["adam"]
    with pytest.raises(UnknownPerson):
        store.erase("ada")


def test_an_aside_goes_with_an_erasure_though_its_profile_was_never_made(
    store: ProfileStore, tmp_path: Path
) -> None:
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / ".ada.json-k1ll3d").write_text("Quincewood")
    with pytest.raises(UnknownPerson):
        store.erase("ada")
    assert held(tmp_path, "Quincewood") == []


def test_a_request_on_its_way_brings_no_erased_profile_back(store: ProfileStore) -> None:
    """Nor does it write into a later one of the same name."""
    on_its_way = store.set("ada", FACTS)
    store.erase("ada")
    store.add_to_history(on_its_way, "cafe")
    assert store.people() == []
    later = store.set("ada", {"wish": "no ice"})
    store.add_to_history(on_its_way, "cafe")
    assert store.read("ada") == later
    store.add_to_history(later, "pool")
    assert store.read("ada").history.last == "pool"


def test_writers_at_the_same_time_lose_nothing(store: ProfileStore, tmp_path: Path) -> None:
    profile = store.set("ada", FACTS)

    def ask() -> None:
        for _ in range(10):
            ProfileStore(tmp_path / "profiles").add_to_history(profile, "cafe")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(10):
        store.set("ada", {f"fact{number % 3}": str(number)})
    for thread in threads:
        thread.join()
    found = store.read("ada")
    assert found.history.counts == {"cafe": 40}
    assert found.facts == FACTS | {"fact0": "9", "fact1": "7", "fact2": "8"}


def test_a_damaged_profile_can_be_erased(store: ProfileStore, tmp_path: Path) -> None:
    store.set("ada", FACTS)
    (tmp_path / "profiles" / "ada.json").write_bytes(b'\xff{"Quincewood')
    with pytest.raises(ProfileError) as damaged:
        store.read("ada")
    assert "Quincewood" not in str(damaged.value)
    store.erase("ada")
    assert held(tmp_path, "Quincewood") == []
