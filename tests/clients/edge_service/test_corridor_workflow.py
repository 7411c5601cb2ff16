"""Workflow files through the corridor: executed as written, traced, and nothing said of the text.

Model and cloud are those of test_corridor: they do as the test says.
"""

import asyncio
import errno
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from clients.asking.ask import Answered, Leaving
from clients.edge_service import request_ledger
from clients.edge_service.model_owner import GivenUp
from clients.workflow.trace import Trace
from clients.workflow.trace_file import trace_file, traces
from clients.writing import Written
from fl.errors import GenerationError
from fl.generation import TextPiece
from fl.openai_api.calls import call_from_body
from fl.openai_api.errors import ApiError
from tests.clients.edge_service.test_corridor import REPLY, SHORT, SITE, World
from tests.clients.edge_service.test_http_backend import backend_of
from tests.clients.workflow.files import ALWAYS, of, without, workflow

ENRICHED, OWN = "a table for two", "At the mill, of course."
AWAY = GenerationError("down", status="UNAVAILABLE")


def world(folder: Path, text: str | None = None, *script: Any, writes: bool = True) -> World:
    """A corridor with this workflow file; its model has written, unless `writes` is false."""
    made = World(
        folder,
        *(script or (TextPiece(text="Yes."), REPLY)),
        workflow=workflow(text) if text else None,
    )
    if writes:
        made.model.future.set_result(Written(text=ENRICHED, nats=(0.1,)))
    made.model.own.set_result(Written(text=OWN, nats=(0.1, 0.4)))
    return made


def ended(found: World, mode: str = "") -> tuple[list[str], Answered]:
    """Kinds of the events before the end, and the end."""
    *before, answered = found.ask(mode)
    assert isinstance(answered, Answered)
    return [type(event).__name__ for event in before], answered


def only_trace(found: World) -> Trace:
    """That of the one request there was, and it fits the ledger."""
    file = trace_file(found.settings, SITE.id)
    [trace] = traces(file)
    [entry] = found.entries
    assert (trace.request_id, trace.site_id) == (entry.request_id, entry.site_id)
    assert (trace.wanted, trace.mode, trace.outcome) == (entry.wanted, entry.mode, entry.outcome)
    for private in (SHORT, *SHORT.split(), ENRICHED, OWN, "Elmford", "Yes."):
        assert private not in file.read_text()
    return trace


def steps(trace: Trace) -> dict[str, str]:
    return {span.step: span.fallback or span.outcome for span in trace.steps}


ALL = ("profile", "enrich", "draft", "disclose", "route", "generate", "record")


@pytest.mark.parametrize(
    ("mode", "skipped"),
    [
        ("edge", {"disclose"}),
        ("cloud", {"profile", "enrich", "draft"}),
        ("synergy", {"draft"}),
        ("auto", set()),
        ("", {"draft"}),
    ],
)
def test_each_mode_leaves_its_trace(tmp_path: Path, mode: str, skipped: set[str]) -> None:
    found = world(tmp_path)
    ended(found, mode)
    trace = only_trace(found)
    assert steps(trace) == {name: "skipped" if name in skipped else "ok" for name in ALL}
    done = [span for span in trace.steps if span.outcome == "ok"]
    starts = [span.start_s for span in done]
    assert starts == sorted(starts)
    assert sum(span.seconds for span in done) <= trace.seconds


def test_a_fixed_mode_answers_at_the_site_whatever_is_asked(tmp_path: Path) -> None:
    found = world(tmp_path, of("route", "mode", "edge"))
    kinds, answered = ended(found, "synergy")
    assert kinds == ["Enrichment", "Leaving", "TextPiece"]
    assert (answered.mode, answered.answer, found.cloud.requests) == ("edge", OWN, [])
    [entry] = found.entries
    assert (entry.wanted, entry.mode, entry.private_characters) == ("synergy", "edge", 0)
    only_trace(found)

    async def walk() -> None:
        async with backend_of(found, tmp_path) as backend:
            assert "netgpt-cloud" not in {model.id for model in backend.models()}
            body = b'{"model": "netgpt-cloud", "messages": [{"role": "user", "content": "a"}]}'
            with pytest.raises(ApiError):
                await backend.open(call_from_body("chat", body))

    asyncio.run(walk())
    assert found.cloud.requests == []


def test_without_an_enrich_step_the_short_prompt_is_asked_as_in_mode_cloud(tmp_path: Path) -> None:
    text = of("draft", "takes", "[short]", of("disclose", "takes", "[short]", without("enrich")))
    found = world(tmp_path, text, writes=False)
    kinds, answered = ended(found, "synergy")
    assert (kinds, answered.mode) == (["Leaving", "TextPiece"], "cloud")
    assert [request.prompt for request in found.cloud.requests] == [SHORT]
    assert only_trace(found).mode == "cloud"


def test_an_enriched_prompt_that_is_late_is_done_without(tmp_path: Path) -> None:
    text = of("enrich", "fallback", "short", of("enrich", "deadline_s", "0.001"))
    found = world(tmp_path, text, writes=False)
    _, answered = ended(found)
    assert answered.enriched.fell_back
    assert (answered.mode, answered.disclosed.text) == ("synergy", SHORT)
    assert found.model.future.cancelled()  # its place in the queue is free
    span = next(span for span in only_trace(found).steps if span.step == "enrich")
    assert (span.outcome, span.fallback, span.why) == ("late", "short", "DEADLINE_EXCEEDED")


def test_a_cloud_that_is_away_leaves_the_sites_own_answer(tmp_path: Path) -> None:
    found = world(tmp_path, ALWAYS, AWAY)
    kinds, answered = ended(found)
    assert kinds == ["Enrichment", "Leaving", "TextPiece"]  # one Leaving: the text has left
    assert (answered.mode, answered.answer, answered.error) == ("edge", OWN, None)
    [entry] = found.entries
    assert (entry.mode, entry.outcome, entry.private_characters) == ("edge", "stop", len(ENRICHED))
    assert (entry.bytes_up, entry.cloud_release) == (11, "")
    assert steps(only_trace(found)) | {"generate": "edge", "draft": "ok"} == steps(
        only_trace(found)
    )
    short = world(tmp_path / "cloud", ALWAYS, AWAY)
    assert ended(short, "cloud")[1].answer == OWN  # written to the short prompt
    assert short.model.prompts == [f"Request: {SHORT}\nAnswer:"]


def test_auto_hears_that_the_cloud_is_away_though_the_site_answers(tmp_path: Path) -> None:
    found = world(tmp_path, ALWAYS, AWAY)
    found.keeps = False
    ended(found, "auto")
    assert [answered.error for answered in found.learned] == [AWAY, None]


def test_auto_without_a_calibration_is_refused_or_answers_at_the_site(tmp_path: Path) -> None:
    def none() -> Any:
        raise GenerationError("no marks", status="FAILED_PRECONDITION")

    refusing, falling = world(tmp_path / "a"), world(tmp_path / "b", ALWAYS)
    for found in (refusing, falling):
        cast(Any, found.corridor)._router = none
    with pytest.raises(GenerationError, match="no marks"):
        ended(refusing, "auto")
    assert refusing.model.prompts == []  # at once
    assert only_trace(refusing).steps == ()
    assert ended(falling, "auto")[1].mode == "edge"
    assert steps(only_trace(falling))["route"] == "edge"


def test_a_step_that_refuses_ends_the_trace(tmp_path: Path) -> None:
    found = world(tmp_path, None, writes=False)
    with pytest.raises(GenerationError):
        ended(found)
    trace = only_trace(found)
    assert steps(trace) == {"profile": "ok", "enrich": "refuse"}
    assert trace.outcome == "DEADLINE_EXCEEDED"


def test_a_service_that_ends_is_traced_as_its_line_says(tmp_path: Path) -> None:
    found = world(tmp_path, ALWAYS, writes=False)
    found.model.future.set_exception(GivenUp("The edge service ends."))
    with pytest.raises(GivenUp):
        ended(found)
    trace = only_trace(found)
    assert (trace.outcome, trace.steps[-1].why) == ("UNAVAILABLE", "GivenUp")
    assert found.cloud.requests == []  # no fallback: nobody waits any more


@pytest.mark.parametrize("events_read", [1, 2, 3])
def test_who_leaves_ends_the_trace_and_gets_no_other_answer(
    tmp_path: Path, events_read: int
) -> None:
    gone = GenerationError("left", status="CANCELLED")
    found = world(tmp_path, ALWAYS, TextPiece(text="Ye"), gone)
    events = cast(Any, found.ask("synergy"))
    for _ in range(events_read):
        next(events)
    events.close()
    assert found.cloud.cancelled == (events_read == 3)
    assert f"Request: {ENRICHED}\nAnswer:" not in found.model.prompts
    trace = only_trace(found)
    span = next(span for span in trace.steps if span.step == "generate")
    assert (trace.outcome, span.outcome) == ("cancelled", "cancelled")


def test_traces_that_cannot_be_written_lose_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    found = world(tmp_path)
    monkeypatch.setattr(request_ledger, "keep", full)
    for _ in range(2):
        assert ended(found, "cloud")[1].answer == "Yes."
    [line] = found.said  # once, as long as nothing changes
    assert "missing from the traces" in line
    assert len(found.entries) == 2


def test_a_leaving_says_which_way_it_goes(tmp_path: Path) -> None:
    for mode, way in {"edge": "edge", "cloud": "cloud", "synergy": "synergy"}.items():
        found = world(tmp_path / mode)
        found.model.future = Future()
        found.model.future.set_result(Written(text=ENRICHED, nats=(0.1,)))
        [leaving] = [event for event in found.ask(mode) if type(event) is Leaving]
        assert leaving.mode == way
