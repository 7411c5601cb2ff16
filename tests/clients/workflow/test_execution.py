"""A workflow executed as written: order, fallbacks, deadlines, traces. The clock is the test's."""

from contextlib import suppress
from itertools import pairwise

import pytest

from clients.workflow.steps import KINDS
from fl.errors import BookError, GenerationError
from tests.clients.workflow.fakes import CANARY, PROMPT, Fakes
from tests.clients.workflow.files import ALWAYS, DEFAULT, changed, of, without, workflow

AWAY = GenerationError("away", status="UNAVAILABLE")


def gone(fakes: Fakes, text: str, mode: str = "synergy") -> list[tuple[str, str, str]]:
    """Step, outcome and fallback of all that was done, until it ended or was refused."""
    execution = fakes.execution(workflow(text), mode)
    with suppress(GenerationError, BookError):
        list(execution.run())
    return [(s.step, s.outcome, s.fallback) for s in execution.spans if s.outcome != "skipped"]


@pytest.mark.parametrize(
    ("mode", "done"),
    [
        ("edge", "profile enrich draft route record"),
        ("cloud", "disclose route generate record"),
        ("split", "disclose route generate record"),
        ("synergy", "profile enrich disclose route generate record"),
        ("auto", "profile enrich draft disclose route generate record"),
    ],
)
def test_each_mode_does_its_steps_in_their_order(mode: str, done: str) -> None:
    fakes = Fakes()
    execution = fakes.execution(workflow(DEFAULT), mode)
    list(execution.run())
    assert fakes.done == done.split()
    assert sorted(s.step for s in execution.spans) == sorted(KINDS)
    assert {s.outcome for s in execution.spans} <= {"ok", "skipped"}
    source = "short" if mode in ("cloud", "split") else "enriched"
    assert fakes.sent == ([] if mode == "edge" else [f"[masked] {source}"])


def test_a_step_has_in_its_hands_what_it_takes_and_no_more() -> None:
    fakes = Fakes()
    fakes.run(workflow(of("enrich", "takes", "[short]")))
    assert fakes.given["enrich"] == {"short": PROMPT}
    assert fakes.given["generate"] == {"way": "synergy", "disclosed": "[masked] enriched"}
    assert fakes.given["record"] == {"figures": len("said")}


def test_steps_may_stand_in_another_order_and_have_other_names() -> None:
    lines = DEFAULT[DEFAULT.index("  profile:") :]
    begins = [lines.index(f"  {kind}:") for kind in KINDS] + [len(lines)]
    blocks = [lines[a:b] for a, b in pairwise(begins)]
    text = "steps:\n" + "".join(reversed(blocks))
    fakes = Fakes()
    assert fakes.run(workflow(changed(("  enrich:", "  say-more:"), text=text))).by == "cloud"
    # of two steps that do not wait for each other the file's first comes first
    assert fakes.done == "profile enrich route disclose generate record".split()
    fakes = Fakes()
    fakes.run(workflow(of("route", "after", "[disclose]", text=text)))
    assert fakes.done == "profile enrich disclose route generate record".split()


def test_a_fixed_mode_is_every_requests() -> None:
    for wanted in ("cloud", "auto", "edge"):
        fakes = Fakes()
        assert fakes.run(workflow(of("route", "mode", "edge")), wanted).by == "site"
        assert fakes.sent == []
    only_cloud = of("route", "mode", "cloud")
    for name in ("profile", "enrich", "draft"):
        only_cloud = without(name, only_cloud)
    only_cloud = of("disclose", "takes", "[short]", of("route", "takes", "[]", only_cloud))
    only_cloud = of("generate", "takes", "[way, disclosed]", only_cloud)
    fakes = Fakes()
    fakes.run(workflow(only_cloud), "synergy")
    assert fakes.sent == ["[masked] short"]


def test_without_enriching_the_short_prompt_is_disclosed() -> None:
    text = of("draft", "takes", "[short]", without("enrich"))
    fakes = Fakes()
    fakes.run(workflow(of("disclose", "takes", "[short]", text)))
    assert fakes.sent == ["[masked] short"]


@pytest.mark.parametrize(
    ("kind", "error", "expected"),
    [
        ("profile", BookError("no card"), ("profile", "fallback", "skip")),
        ("enrich", AWAY, ("enrich", "fallback", "short")),
        ("generate", AWAY, ("generate", "fallback", "edge")),
        ("record", OSError(28, "full"), ("record", "fallback", "skip")),
    ],
)
def test_what_fails_takes_its_fallback(
    kind: str, error: Exception, expected: tuple[str, str, str]
) -> None:
    fakes = Fakes(fails={kind: error})
    found = gone(fakes, ALWAYS)
    assert expected in found
    assert [outcome for _, outcome, _ in found].count("fallback") == 1
    if kind == "profile":
        assert fakes.given["enrich"] == {"short": PROMPT}
    if kind == "enrich":
        assert fakes.sent == ["[masked] short"]
    if kind == "generate":  # the draft was not synergy's step; it is written when it is wanted
        assert fakes.done.index("draft") > fakes.done.index("generate")


def test_what_fails_without_a_fallback_ends_the_request_with_its_own_error() -> None:
    fakes = Fakes(fails={"enrich": AWAY})
    with pytest.raises(GenerationError, match="away"):
        fakes.run(workflow(DEFAULT))
    assert fakes.sent == []
    assert gone(Fakes(fails={"enrich": AWAY}), DEFAULT)[-1] == ("enrich", "refused", "refuse")


def test_a_failed_cloud_is_recorded_and_an_answer_is_not_begun_twice() -> None:
    fakes = Fakes(fails={"generate": AWAY})
    assert fakes.run(workflow(DEFAULT)).error is AWAY
    assert len(fakes.kept) == 1
    half = Fakes(fails={"generate": AWAY}, spoken="sa")
    assert half.run(workflow(ALWAYS)).answer == "sa"
    assert gone(Fakes(fails={"generate": AWAY}, spoken="sa"), ALWAYS)[-2:] == [
        ("generate", "refused", "refuse"),
        ("record", "ok", ""),
    ]


def test_who_has_left_gets_no_fallback() -> None:
    left = GenerationError("left", status="CANCELLED")
    found = gone(Fakes(fails={"generate": left}), ALWAYS)
    assert found[-2] == ("generate", "cancelled", "")
    fakes = Fakes()
    execution = fakes.execution(workflow(ALWAYS))
    running = execution.run()
    next(running)
    running.close()
    assert execution.spans[-1].outcome == "cancelled"
    assert fakes.kept == []


def test_a_missed_deadline_takes_the_fallback_and_what_came_late_is_not_used() -> None:
    fakes = Fakes(takes_s={"enrich": 5.5})  # it has 5
    assert ("enrich", "late", "short") in gone(fakes, ALWAYS)
    assert fakes.sent == ["[masked] short"]
    in_time = Fakes(takes_s={"enrich": 4.5})
    assert ("enrich", "ok", "") in gone(in_time, ALWAYS)
    late = Fakes(takes_s={"enrich": 60.5})  # asking.timeout_s
    with pytest.raises(GenerationError, match=r"Step enrich .* within 60 s") as refused:
        late.run(workflow(DEFAULT))
    assert refused.value.status == "DEADLINE_EXCEEDED"


def test_the_whole_request_has_a_deadline_too_but_is_recorded_all_the_same() -> None:
    text = changed(("deadline_s: 600", "deadline_s: 9"))
    found = gone(Fakes(takes_s={"enrich": 8, "disclose": 1.5}), text)
    assert found[-1] == ("disclose", "late", "refuse")  # 2 of its own, 1 of the whole
    slow_cloud = Fakes(takes_s={"generate": 30})
    slow_cloud.run(workflow(text))
    assert len(slow_cloud.kept) == 1


def test_an_own_answer_that_did_not_come_is_asked_for_or_said() -> None:
    text = of("draft", "fallback", "skip")
    fakes = Fakes(fails={"draft": AWAY}, keeps=True)
    assert fakes.run(workflow(text), "auto").by == "cloud"
    with pytest.raises(GenerationError, match="away"):
        Fakes(fails={"draft": AWAY}).run(workflow(text), "edge")


def test_a_trace_tells_when_and_how_long() -> None:
    fakes = Fakes(takes_s={"profile": 0.25, "enrich": 2, "generate": 4})
    execution = fakes.execution(workflow(DEFAULT))
    list(execution.run())
    spans = {span.step: span for span in execution.spans}
    assert [(s.start_s, s.seconds) for s in (spans["profile"], spans["enrich"])] == [
        (0, 0.25),
        (0.25, 2),
    ]
    assert (spans["generate"].start_s, spans["generate"].seconds) == (2.25, 4)
    assert [spans[name].privacy for name in ("enrich", "disclose", "route")] == [
        "private",
        "disclosed",
        "open",
    ]
    assert CANARY not in repr(execution.spans)
