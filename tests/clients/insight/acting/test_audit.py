"""The audit notices what was changed, taken out, or cut off."""

import errno
import os
from pathlib import Path

import pytest

from clients.insight.acting.audit import FILE, HEAD, NOTHING, Audit
from fl.errors import ActionError


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    its = Audit(tmp_path)
    for event in ("proposed", "dry_run", "applied"):
        its.add(event, action="a1", kind="slice")
    return its


def test_lines_are_chained(audit: Audit) -> None:
    lines = audit.lines()
    assert [line.number for line in lines] == [1, 2, 3]
    assert lines[0].before == NOTHING
    assert len({line.before for line in lines}) == 3


@pytest.mark.parametrize("spoil", ["change", "take out", "cut", "empty", "no head"])
def test_tampering_is_noticed_and_nothing_is_added(
    audit: Audit, tmp_path: Path, spoil: str
) -> None:
    file = tmp_path / FILE
    lines = file.read_bytes().splitlines(keepends=True)
    spoilt = {
        "change": [lines[0].replace(b"slice", b"slyce"), *lines[1:]],
        "take out": [lines[0], lines[2]],
        "cut": lines[:1],
        "empty": [],
        "no head": lines,
    }[spoil]
    file.write_bytes(b"".join(spoilt))
    if spoil == "no head":
        (tmp_path / HEAD).unlink()
    with pytest.raises(ActionError, match="changed, or cut"):
        audit.add("applied", action="a2")


def test_a_death_between_line_and_head_is_no_tampering(audit: Audit, tmp_path: Path) -> None:
    head = (tmp_path / HEAD).read_bytes()
    audit.add("undone", action="a1")
    (tmp_path / HEAD).write_bytes(head)
    assert audit.add("proposed", action="a2").number == 5


def test_a_line_that_was_cut_off_while_it_was_written_goes(audit: Audit, tmp_path: Path) -> None:
    file = tmp_path / FILE
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"number": 4, "at": "20')
    assert [line.number for line in audit.lines()] == [1, 2, 3]
    assert file.read_bytes() == whole
    assert audit.add("undone", action="a1").number == 4


def test_a_torn_line_hides_no_tampering(audit: Audit, tmp_path: Path) -> None:
    file = tmp_path / FILE
    lines = file.read_bytes().splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:2]) + lines[2][:-5])
    with pytest.raises(ActionError, match="move both to another folder"):
        audit.lines()


def test_a_disk_that_refuses_is_said_and_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ActionError, match=r"cannot be kept \(No space left on device\)"):
        Audit(tmp_path).add("proposed")


def test_a_head_that_is_no_text_is_tampering(audit: Audit, tmp_path: Path) -> None:
    (tmp_path / HEAD).write_bytes(b"\xff\xfe")
    with pytest.raises(ActionError, match="has been changed"):
        audit.lines()
