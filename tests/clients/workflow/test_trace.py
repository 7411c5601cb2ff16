"""Traces: lines that come back, and nothing that could be a text."""

from dataclasses import replace
from pathlib import Path

import pytest

from clients.workflow.trace import Span, Trace, from_line, to_line
from clients.workflow.trace_file import keep, traces
from clients.workflow.verb import WIDTH, bar
from fl.errors import FederationError

SPAN = Span(
    step="enrich",
    privacy="private",
    start_s=0.25,
    seconds=0.5,
    outcome="late",
    fallback="short",
    why="DEADLINE_EXCEEDED",
)
ONE = Trace(
    request_id="a1",
    site_id="oslo",
    at=1_790_000_000.5,
    workflow="0123456789ab",
    wanted="auto",
    mode="synergy",
    outcome="stop",
    seconds=1.0,
    steps=(SPAN, replace(SPAN, step="route", outcome="ok", fallback="", why="")),
)


def test_a_line_comes_back_and_a_strange_one_is_left_out() -> None:
    assert from_line(to_line(ONE)) == ONE
    for before, after in (
        (b'"seconds":1.0', b'"seconds":"1"'),
        (b'"outcome":"late"', b'"outcome":"lost"'),
        (b'"privacy":"private"', b'"privacy":"secret"'),
        (b'"why":""', b'"how":""'),
        (b'"steps":[', b'"steps":[3,'),
    ):
        assert before in to_line(ONE)
        assert from_line(to_line(ONE).replace(before, after)) is None
    assert from_line(to_line(ONE)[:-9]) is None
    assert from_line(b"[]\n") is None


def test_what_could_be_a_text_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "traces.jsonl"
    for wrong in (
        replace(ONE, outcome="a table for two"),
        replace(ONE, steps=(replace(SPAN, why="x" * 129),)),
    ):
        with pytest.raises(FederationError, match="is one word"):
            keep(file, wrong)
    keep(file, ONE)
    with open(file, "ab") as stream:
        stream.write(b'{"torn')
    keep(file, ONE)
    assert list(traces(file)) == [ONE, ONE]


def test_a_step_lies_where_it_was_on_the_line_of_time() -> None:
    quarter = WIDTH // 4
    assert bar(SPAN, ONE) == " " * quarter + "█" * (2 * quarter)
    assert bar(replace(SPAN, start_s=0.999, seconds=0.0), ONE).endswith("█")
    assert len(bar(replace(SPAN, start_s=2, seconds=9), ONE)) == WIDTH
