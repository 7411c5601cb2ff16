"""The ledger: lines that survive, sums by hand, and no text."""

import io
import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from clients.ledger.entry import Entry, from_line, to_line
from clients.ledger.journal import entries, ledger_file, record
from clients.ledger.summary import percentile, summary
from clients.ledger.verb import show_ledger
from fl.errors import FederationError
from fl.settings import load

ONE = Entry(
    request_id="a1",
    site_id="oslo",
    at=1_790_000_000.5,
    wanted="auto",
    mode="synergy",
    outcome="stop",
    bytes_up=1500,
    bytes_down=2500,
    counted="socket",
    private_characters=120,
    states_bytes=0,
    short_tokens=40,
    enriched_tokens=30,
    prompt_tokens=35,
    completion_tokens=25,
    total_seconds=1.0,
    queue_seconds=0.0,
    enrich_seconds=0.25,
    link_seconds=0.125,
    prefill_seconds=0.5,
    decode_seconds=0.125,
    first_seconds=0.875,
    site_cpu_seconds=0.5,
    cloud_cpu_seconds=1.5,
    federation="001",
    release=4,
    cloud_release="base",
)


def test_a_line_comes_back_and_a_strange_one_is_left_out() -> None:
    assert from_line(to_line(ONE)) == ONE
    assert from_line(to_line(ONE)[:-9]) is None
    assert from_line(b"\xff\n") is None
    assert from_line(to_line(ONE).replace(b'"release":4', b'"release":"4"')) is None
    assert from_line(to_line(ONE).replace(b'"at":', b'"when":')) is None


def test_a_torn_line_stays_by_itself(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    record(file, ONE)
    with open(file, "ab") as stream:
        stream.write(to_line(ONE)[:30])
    record(file, replace(ONE, request_id="a2"))
    assert [e.request_id for e in entries(file)] == ["a1", "a2"]
    assert list(entries(tmp_path / "none")) == []


def _add(file: Path, name: str) -> None:
    for number in range(20):
        record(file, replace(ONE, request_id=f"{name}-{number}"))


def test_processes_add_at_the_same_time(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add, args=(file, name)) for name in "abc"]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    found = {e.request_id for e in entries(file)}
    assert found == {f"{name}-{number}" for name in "abc" for number in range(20)}


def test_sums_by_hand() -> None:
    slow = replace(ONE, total_seconds=3.0, bytes_up=500, outcome="UNAVAILABLE")
    edge = replace(ONE, mode="edge", bytes_up=0, bytes_down=0, site_id="rome")
    text = summary([ONE, slow, edge])
    rows = {
        (cells[1], cells[2]): cells
        for line in text.splitlines()[2:]
        if (cells := [cell.strip() for cell in line.split("|")])
    }
    synergy = rows["oslo", "synergy"]
    assert synergy[3:8] == ["2", "1", "2.0", "5.0", "240"]
    assert synergy[9:11] == ["1.000", "3.000"]
    assert rows["rome", "edge"][5:7] == ["0.0", "0.0"]
    assert rows["all", "synergy"][3] == "2"
    assert summary([]) == ""
    assert [percentile([1.0, 2.0, 3.0, 4.0], s) for s in (0.5, 0.75, 0.99, 0.0)] == [2, 3, 4, 1]


def test_no_entry_can_hold_a_text(tmp_path: Path) -> None:
    for name in ("request_id", "outcome", "mode"):
        with pytest.raises(FederationError, match="one word"):
            record(tmp_path / "l", replace(ONE, **{name: "need a coffee"}))
    assert not (tmp_path / "l").exists()


def test_the_verb_reads_every_site(tmp_path: Path) -> None:
    settings = load([f"var={tmp_path}", "sites=2"])
    console = Console(file=io.StringIO(), width=300)
    with pytest.raises(FederationError, match="Ask something first"):
        show_ledger(settings, console)
    record(ledger_file(settings, "marlow-quay"), replace(ONE, site_id="marlow-quay"))
    show_ledger(settings, console)
    assert isinstance(console.file, io.StringIO)
    assert "| marlow-quay | synergy" in console.file.getvalue()
