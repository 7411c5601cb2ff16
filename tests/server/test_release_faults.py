"""Kills, full and read-only disks, damaged releases: `current` is always one that can be used."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fl import durable
from fl.errors import ReleaseError
from server.releases import Releases
from tests.fl.releases import OTHER_KEY
from tests.server.published import flip_a_bit, named, opened, publish, visible, with_promoted

PROJECT = Path(__file__).parents[2]


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


def killed_at_every_step(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    *,
    prepare: Callable[[Path], object],
    act: Callable[[Releases], object],
) -> Iterator[Releases]:
    """Act on a fresh folder, killed before its first, second, ... durable step; what is left.

    A durable step is an fsync, a rename, a replace or an unlink. The last one yielded was not
    killed at all.
    """
    for nth in count(1):
        place, steps = folder / str(nth), count(1)
        prepare(place)

        def killing(step: Callable[..., Any]) -> Callable[..., Any]:
            def run(*arguments: Any, **named: Any) -> Any:
                if next(steps) == nth:  # noqa: B023 - called within this round of the loop
                    raise Killed
                return step(*arguments, **named)

            return run

        finished = False
        with monkeypatch.context() as patched, suppress(Killed):
            patched.setattr(os, "fsync", killing(os.fsync))
            for name in ("rename", "replace", "unlink"):
                patched.setattr(Path, name, killing(getattr(Path, name)))
            act(opened(place))
            finished = True
        yield opened(place)
        if finished:
            assert nth > 3, "nothing was killed"
            return


def test_a_publish_killed_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for left in killed_at_every_step(
        tmp_path,
        monkeypatch,
        prepare=lambda place: with_promoted(place, 2),
        act=lambda releases: publish(releases, 2),
    ):
        assert left.current().number == 1
        assert left.numbers() in ([0, 1], [0, 1, 2])
        assert left.aliases.read("candidate") in (None, 2)
        # a new process: what was published and not named yet becomes the candidate
        assert left.set_aside_damaged() == []
        newest, candidate = left.newest(), left.candidate()
        assert newest is not None
        assert (candidate.number if candidate else None) == (2 if newest.number == 2 else None)
        found.append(newest.number)
        # done again
        made = publish(left, 3)
        assert made.number == newest.number + 1
        assert named(left) == (1, 0, made.number)
        assert not [name for name in visible(left.folder) if name.endswith(".partial")]
    assert (found[0], found[-1]) == (1, 2)
    assert found == sorted(found)  # whole from the rename on, and never gone again


def test_the_first_publish_killed_at_any_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for left in killed_at_every_step(
        tmp_path,
        monkeypatch,
        prepare=lambda place: None,
        act=lambda releases: publish(releases, 0),
    ):
        left.set_aside_damaged()
        if left.newest() is None:
            publish(left, 0)
        assert named(left) == (0, None, None)
        assert left.current().number == 0


def _with_candidate(place: Path) -> None:
    publish(with_promoted(place, 2), 2)


def test_a_promotion_killed_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for left in killed_at_every_step(
        tmp_path,
        monkeypatch,
        prepare=_with_candidate,
        act=lambda releases: releases.promote(2, why="better"),
    ):
        assert left.current().number in (1, 2)
        assert left.rollback(left.previous_number(), why="would work").number in (0, 1)
        left.promote(2, why="better")
        assert left.set_aside_damaged() == []
        assert left.current().number == 2
        assert left.candidate() is None


def test_a_promotion_done_again_ends_as_if_unbroken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for left in killed_at_every_step(
        tmp_path,
        monkeypatch,
        prepare=_with_candidate,
        act=lambda releases: releases.promote(2, why="better"),
    ):
        left.promote(2, why="better")
        assert named(left) == (2, 1, None)
        moves = [(move.alias, move.before, move.after) for move in left.aliases.history()]
        assert moves[-3:] == [("previous", 0, 1), ("current", 1, 2), ("candidate", 2, None)]
        assert len(moves) == len(set(moves))


def test_a_rejection_killed_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for left in killed_at_every_step(
        tmp_path,
        monkeypatch,
        prepare=_with_candidate,
        act=lambda releases: releases.reject(2, why="worse"),
    ):
        assert left.set_aside_damaged() == []
        assert named(left) in ((1, 0, 2), (1, 0, None))
        left.reject(2, why="worse")
        assert left.set_aside_damaged() == []  # which does not bring it back
        assert named(left) == (1, 0, None)
        assert left.load(2).number == 2
        assert [move.why for move in left.aliases.history()].count("worse") == 1


def test_a_rollback_killed_at_any_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for left in killed_at_every_step(
        tmp_path,
        monkeypatch,
        prepare=_with_candidate,
        act=lambda releases: releases.rollback(None, why="by hand"),
    ):
        assert left.current().number in (0, 1)
        left.rollback(None, why="by hand")
        assert named(left) == (0, 0, 2)
        assert [move.why for move in left.aliases.history()].count("by hand") == 1


# --- disks ----------------------------------------------------------------------------------------

# Publishes under a rising limit on the size of a file, until one is large enough.
UNDER_A_LIMIT = """
import json, pathlib, resource, signal, sys
from fl.errors import ReleaseError
from tests.server.published import named, opened, publish, visible
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
folder = pathlib.Path(sys.argv[1])
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
refusals = []
for limit in range(40, 10_000, 40):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        publish(opened(folder), 2)
        break
    except ReleaseError as error:
        now = opened(folder)
        state = [named(now), sorted(visible(folder) - {".candidate"}), now.current().number]
        refusals.append([str(error), state])
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(json.dumps(refusals))
"""


def test_a_file_that_cannot_grow_leaves_everything_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "releases"
    with_promoted(folder, 2)
    ran = subprocess.run(
        [sys.executable, "-c", UNDER_A_LIMIT, str(folder)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        check=True,
    )
    refusals = json.loads(ran.stdout)
    assert len(refusals) >= 10
    said = f"Release 2 could not be written to {folder} (File too large); release 1 stays current."
    state = [[1, 0, None], ["0", "1", "current", "history.jsonl", "previous"], 1]
    assert refusals == [[said, state]] * len(refusals)
    assert named(opened(folder)) == (1, 0, 2)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 KiB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def _fill(disk: Path, *, leave: int) -> None:
    """Fill the disk up to so many free pages."""
    stats = os.statvfs(disk)
    filler = disk / "filler"
    used = filler.stat().st_size if filler.exists() else 0
    size = used + (stats.f_bavail - leave) * stats.f_bsize
    os.truncate(filler, size) if size < used else None
    with open(filler, "ab") as stream:
        stream.write(b"x" * max(0, size - used))


def refusal(act: Callable[[], object]) -> str | None:
    """What the disk's refusal reads like; None when it was done."""
    try:
        act()
    except ReleaseError as error:
        return str(error)
    return None


def test_a_full_disk_leaves_everything_as_it_was(small_disk: Path) -> None:
    folder = small_disk / "releases"
    releases = with_promoted(folder, 2)
    before = visible(folder)
    for free_pages in count():
        _fill(small_disk, leave=free_pages)
        refused = refusal(lambda: publish(releases, 2))
        if refused is None:
            break
        assert refused == (
            f"Release 2 could not be written to {folder} (No space left on device); "
            "release 1 stays current."
        )
        assert visible(folder) - {".candidate"} == before
        assert releases.current().number == 1
        assert named(releases) == (1, 0, None)
    assert free_pages >= 4  # a page a file at the least
    for free_pages in count():
        _fill(small_disk, leave=free_pages)
        refused = refusal(lambda: releases.promote(2, why="better"))
        if refused is None:
            break
        assert "No space left on device); release 1 stays current." in refused
        assert releases.current().number == 1
    assert named(releases) == (2, 1, None)


def _remount(disk: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(disk)], check=True)


def test_a_read_only_disk_leaves_everything_as_it_was(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = small_disk / "releases"
    releases = with_promoted(folder, 2)
    _remount(small_disk, "ro")
    for act in (
        lambda: publish(releases, 2),
        lambda: releases.rollback(0, why="by hand"),
        lambda: releases.promote(0, why="by hand"),
    ):
        with pytest.raises(ReleaseError, match=r"\(Read-only file system\); release 1 stays curr"):
            act()
        assert releases.current().number == 1

    # it turns read-only when the folder has been written: not even the clean-up works
    _remount(small_disk, "rw")
    sync = durable.sync_folder
    with monkeypatch.context() as patched:
        patched.setattr(durable, "sync_folder", lambda f: (sync(f), _remount(small_disk, "ro")))
        with pytest.raises(ReleaseError, match=r"Release 2 .* release 1 stays current"):
            publish(releases, 2)
    assert releases.current().number == 1
    assert releases.numbers() == [0, 1]
    _remount(small_disk, "rw")
    assert publish(releases, 2).number == 2
    assert not [name for name in visible(folder) if name.endswith(".partial")]


# --- damage ---------------------------------------------------------------------------------------


def test_a_damaged_newest_release_gives_way_to_the_previous_one(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 4)
    flip_a_bit(tmp_path / "3")
    said = releases.set_aside_damaged()
    assert len(said) == 2
    assert said[0].startswith(f"Release 3 was set aside: {tmp_path / '3'}: adapter_model.saf")
    assert said[1] == "The alias current named release 3; it names release 2 now."
    assert named(releases) == (2, 2, None)
    assert releases.current().number == 2
    assert (tmp_path / ".3.damaged" / "manifest.json").is_file()
    assert releases.set_aside_damaged() == []
    assert publish(releases, 3).number == 4  # a site may have a release 3


def test_a_damaged_candidate_is_none(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 2)
    for seed in (2, 3):
        publish(releases, seed)
        flip_a_bit(tmp_path / str(seed), "manifest.sig")
    assert [text[:24] for text in releases.set_aside_damaged()] == [
        "Release 3 was set aside:",
        "Release 2 was set aside:",
    ]
    assert named(releases) == (1, 0, None)
    newest = releases.newest()
    assert newest is not None
    assert newest.number == 1


def test_what_was_current_before_comes_before_what_was_rejected(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 2)
    publish(releases, 2)
    releases.reject(2, why="worse")
    publish(releases, 3)
    releases.promote(3, why="better")
    flip_a_bit(tmp_path / "3")
    releases.set_aside_damaged()
    assert named(releases) == (1, 1, None)


def test_a_damaged_current_below_a_good_candidate(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 3)
    publish(releases, 3)
    flip_a_bit(tmp_path / "2")
    assert len(releases.set_aside_damaged()) == 2
    assert named(releases) == (1, 1, 3)


def test_an_alias_that_names_nothing_is_set_right(tmp_path: Path) -> None:
    releases = with_promoted(tmp_path, 3)
    (tmp_path / "current").write_text("")
    (tmp_path / "previous").write_text("7\n")
    assert releases.set_aside_damaged() == [
        "The alias current named no release; it names release 2 now."
    ]
    assert named(releases) == (2, 1, None)


def test_with_another_key_nothing_is_set_aside(tmp_path: Path) -> None:
    with_promoted(tmp_path, 3)
    stranger = Releases(tmp_path, federation="001", key=OTHER_KEY)
    with pytest.raises(ReleaseError, match=r"None of the 3 releases .* Is it the right key"):
        stranger.set_aside_damaged()
    assert opened(tmp_path).numbers() == [0, 1, 2]
    assert opened(tmp_path).set_aside_damaged() == []
