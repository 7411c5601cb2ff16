"""Releases: numbered, immutable, signed; names move from one to another."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from fl import adapter_file
from fl.adapter import digest
from fl.errors import ReleaseError
from server.releases import Releases
from tests.fl.adapters import drawn
from tests.fl.releases import CLOUD_KEY, KEY, OTHER_CLOUD_KEY
from tests.server.published import flip_a_bit, named, opened, publish, visible, with_promoted


def test_a_release_is_a_candidate_first_and_then_current(tmp_path: Path) -> None:
    releases = opened(tmp_path / "releases")
    assert releases.newest() is None
    assert releases.numbers() == []
    assert publish(releases, 0).number == 0
    assert named(releases) == (0, None, None)  # nothing to compare the first with
    published = publish(releases, 1)
    assert named(releases) == (0, None, 1)
    assert releases.current().number == 0
    releases.promote(1, why="0.1 nats better")
    assert named(releases) == (1, 0, None)
    publish(releases, 2)
    releases.reject(2, why="oslo lost 0.3")
    assert named(releases) == (1, 0, None)
    assert releases.numbers() == [0, 1, 2]
    newest, current = releases.newest(), releases.current()
    assert newest is not None
    assert newest.number == 2
    assert replace(current, shared=published.shared) == published
    assert digest(current.shared) == digest(drawn(1))
    assert digest(adapter_file.read(tmp_path / "releases" / "1")) == digest(drawn(1))
    assert (tmp_path / "releases" / "current").read_text() == "1\n"


def test_every_move_leaves_a_line_that_says_why(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 2)
    publish(releases, 2)
    releases.reject(2, why="oslo lost 0.3")
    releases.reject(2, why="oslo lost 0.3")
    releases.rollback(None, why="by hand")
    lines = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert all(line.pop("time").endswith("+00:00") for line in lines)
    assert lines == [
        {"alias": "current", "from": None, "to": 0, "why": "published"},
        {"alias": "candidate", "from": None, "to": 1, "why": "published"},
        {"alias": "previous", "from": None, "to": 0, "why": "better"},
        {"alias": "current", "from": 0, "to": 1, "why": "better"},
        {"alias": "candidate", "from": 1, "to": None, "why": "better"},
        {"alias": "candidate", "from": None, "to": 2, "why": "published"},
        {"alias": "candidate", "from": 2, "to": None, "why": "oslo lost 0.3"},
        {"alias": "current", "from": 1, "to": 0, "why": "by hand"},
    ]
    with open(tmp_path / "history.jsonl", "a") as stream:
        stream.write('{"alias": "curr')  # torn by a full disk
    releases.rollback(1, why="and back")
    assert [(move.before, move.after) for move in releases.aliases.history()][-2:] == [
        (1, 0),
        (0, 1),
    ]


def test_rollback_goes_back_once_or_to_any_number(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 4)
    assert named(releases) == (3, 2, None)
    assert releases.rollback(None, why="by hand").number == 2
    assert releases.rollback(None, why="by hand").number == 2
    assert releases.rollback(0, why="by hand").number == 0
    assert named(releases) == (0, 2, None)
    flip_a_bit(tmp_path / "3")
    with pytest.raises(ReleaseError, match=r"adapter_model\.safetensors has sha256"):
        releases.rollback(3, why="by hand")
    with pytest.raises(ReleaseError, match=r"no release 9 in .* there is: 0, 1, 2, 3\."):
        releases.rollback(9, why="by hand")
    assert named(releases) == (0, 2, None)


def test_a_damaged_candidate_does_not_become_current(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 2)
    publish(releases, 2)
    flip_a_bit(tmp_path / "2", "manifest.json")
    with pytest.raises(ReleaseError, match="damaged or altered"):
        releases.promote(2, why="better")
    assert named(releases) == (1, 0, 2)


def test_publishing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("one", "other"):
        with_promoted(tmp_path / name, 3)
        files = (file for file in (tmp_path / name).glob("[0-9]/*"))
        contents.append({f"{file.parent.name}/{file.name}": file.read_bytes() for file in files})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 3 * 4


def _swap_folder(folder: Path) -> None:
    """Release 0, whole and signed, under the number of release 1."""
    for file in (folder.parent / "0").iterdir():
        (folder / file.name).write_bytes(file.read_bytes())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flip_a_bit, r"adapter_model\.safetensors has sha256"),
        (lambda folder: adapter_file.write(folder, drawn(9)), r"adapter_model.* has sha256"),
        (_swap_folder, "says release 0 of federation 001 of task=complete, expected release 1"),
        (lambda folder: (folder / "manifest.sig").unlink(), r"manifest\.sig is missing"),
    ],
)
def test_a_damaged_release_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    releases = with_promoted(tmp_path, 2)
    damage(tmp_path / "1")
    with pytest.raises(ReleaseError, match=said):
        releases.current()
    assert releases.load(0).number == 0  # the one before is as good as ever


def test_another_cloud_or_federation_is_refused(tmp_path: Path) -> None:
    with_promoted(tmp_path, 2)
    assert Releases(tmp_path, federation="001", cloud_key=CLOUD_KEY).current().number == 1
    with pytest.raises(ReleaseError, match="another cloud made it"):
        Releases(tmp_path, federation="001", cloud_key=OTHER_CLOUD_KEY).current()
    with pytest.raises(
        ReleaseError, match="of federation 001 of task=complete, expected release 1 of federation 2"
    ):
        Releases(tmp_path, federation="2", key=KEY).current()


def test_no_current_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="simulate"):
        opened(tmp_path / "nowhere").current()
    with pytest.raises(ReleaseError, match=r"no previous release.*rollback NUMBER"):
        with_promoted(tmp_path, 1).rollback(None, why="by hand")
    (tmp_path / "current").write_text("latest\n")
    with pytest.raises(ReleaseError, match="must hold a release number, found 'latest'"):
        opened(tmp_path).current()
    opened(tmp_path).rollback(0, why="by hand")
    assert visible(tmp_path) == {"0", "current", "history.jsonl"}


def test_a_release_of_another_task_is_refused(tmp_path: Path) -> None:
    with_promoted(tmp_path, 2)
    other = Releases(tmp_path, federation="001", cloud_key=CLOUD_KEY, task="intent")
    with pytest.raises(ReleaseError, match=r"of task=complete, expected release .* of task=intent"):
        other.current()
