"""Workflow files where people ask: the running service, and the same without one."""

import threading
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from clients.asking.ask import Leaving
from clients.demo_asking import ask_and_show
from clients.edge_service.asking_codec import Ended
from clients.edge_service.service import edge_service
from clients.ledger.journal import entries, ledger_file
from clients.workflow.trace import Trace
from clients.workflow.trace_file import trace_file, traces
from clients.workflow.verb import show_trace
from clients.workflow.workflow import WorkflowError
from fl.errors import FederationError
from fl.site_list import hosted_site
from tests.clients.edge_service.fake_cloud import PIECES, fake_cloud
from tests.clients.edge_service.tiny_service import SHORT, SITE, TinySite, tiny_site
from tests.clients.workflow.files import ALWAYS, of
from tests.walks.tiny_federation import CANARY

IMPATIENT = of("enrich", "deadline_s", "0.001", ALWAYS)  # falls back to the short prompt


def site_with(folder: Path, text: str, cloud: str) -> TinySite:
    file = folder / "workflow.yaml"
    file.write_text(text)
    site = tiny_site(folder / "site", f"workflow={file}", f"service.address={cloud}", cloud=cloud)
    site.put_in_use(site.release(3))
    return site


def fitting_traces(site: TinySite) -> list[Trace]:
    """All traces; they fit the ledger and hold no text."""
    file = trace_file(site.settings, SITE)
    found = list(traces(file))
    lines = list(entries(ledger_file(site.settings, SITE)))
    assert [trace.request_id for trace in found] == [entry.request_id for entry in lines]
    assert CANARY not in file.read_text()
    return found


def test_the_service_executes_its_file(tmp_path: Path) -> None:
    with fake_cloud() as cloud:
        site = site_with(tmp_path, IMPATIENT, cloud.address)
        with site.running() as client:
            leaving, *_, ended = client.ask(SHORT)
            assert isinstance(leaving, Leaving)
            assert isinstance(ended, Ended)
        assert cloud.prompts == [SHORT]
    assert leaving.enriched.fell_back
    [trace] = fitting_traces(site)
    assert {s.step: s.fallback for s in trace.steps if s.outcome == "late"} == {"enrich": "short"}

    shown = Console(file=StringIO(), width=200)
    show_trace(site.settings, SITE, trace.request_id[:6], shown)
    table = shown.file.getvalue()  # type: ignore[attr-defined]
    [row] = [line.split() for line in table.splitlines() if line.startswith("enrich")]
    assert (row[1], row[-3:]) == ("private", ["late", "short", "DEADLINE_EXCEEDED"])
    with pytest.raises(FederationError, match="no trace of a request 0z"):
        show_trace(site.settings, SITE, "0z", shown)


def test_asking_without_a_service_executes_it_as_well(tmp_path: Path) -> None:
    console = Console(file=StringIO(), width=200)
    with fake_cloud() as cloud:
        site = site_with(tmp_path, IMPATIENT, cloud.address)
        ask_and_show(site.settings, [SHORT], [hosted_site(site.settings)], console)
        assert cloud.prompts == [SHORT]
        (tmp_path / "workflow.yaml").write_text(of("route", "mode", "edge"))
        ask_and_show(site.settings, [SHORT], [hosted_site(site.settings)], console)
        assert cloud.prompts == [SHORT]
    assert "".join(PIECES) in console.file.getvalue()  # type: ignore[attr-defined]
    late, edge = fitting_traces(site)
    assert {s.step: s.fallback for s in late.steps if s.outcome == "late"} == {"enrich": "short"}
    assert (edge.wanted, edge.mode, edge.workflow == late.workflow) == ("synergy", "edge", False)
    assert {s.step for s in edge.steps if s.outcome == "skipped"} == {"disclose"}


def test_a_cloud_that_is_away_is_answered_for_by_the_site(tmp_path: Path) -> None:
    site = site_with(tmp_path, ALWAYS, "127.0.0.1:1")
    with site.running() as client:
        *_, ended = client.ask(SHORT)
    assert isinstance(ended, Ended)
    assert ended.mode == "edge"
    [trace] = fitting_traces(site)
    spans = {span.step: span for span in trace.steps}
    assert (spans["generate"].why, spans["generate"].fallback) == ("UNAVAILABLE", "edge")
    assert spans["draft"].outcome == "ok"


def test_a_service_with_a_leaking_file_does_not_start(tmp_path: Path) -> None:
    site = site_with(tmp_path, of("generate", "takes", "[way, draft, short]"), "127.0.0.1:1")
    with (
        pytest.raises(WorkflowError, match="line 49: step generate sends `short`"),
        edge_service(site.settings, site.said.append, stop=threading.Event()),
    ):
        raise AssertionError("it started")
    assert site.said == []
