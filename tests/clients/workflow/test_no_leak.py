"""Whatever file passes the checks: no private text comes into the hands of what sends or keeps."""

from contextlib import suppress
from random import Random
from typing import Any

import pytest
import yaml
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from clients.workflow import checks
from clients.workflow.privacy import CLASSES
from clients.workflow.steps import FALLBACKS, KINDS, MODES, REQUEST, VALUES
from clients.workflow.workflow import Workflow, WorkflowError
from fl.errors import GenerationError
from tests.clients.workflow.fakes import CANARY, Fakes
from tests.clients.workflow.files import ALWAYS, DEFAULT, workflow

AWAY = GenerationError("away", status="UNAVAILABLE")
LATE = GenerationError("late", status="DEADLINE_EXCEEDED")
some_words = st.lists(st.sampled_from(VALUES), unique=True, max_size=4)


@st.composite
def files(draw: Any) -> str:
    """A shipped file with a few keys turned into anything, steps dropped, moved and renamed."""
    found = yaml.safe_load(draw(st.sampled_from([DEFAULT, ALWAYS])))
    steps: dict[str, dict[str, Any]] = found["steps"]
    for name in draw(st.lists(st.sampled_from(list(KINDS)), unique=True, max_size=1)):
        del steps[name]
    for _ in range(draw(st.integers(0, 3))):
        doors = [name for name in ("generate", "disclose", "record") if name in steps]
        name = draw(st.sampled_from([*steps, *doors]))
        key = draw(st.sampled_from(["takes", "after", "modes", "privacy", "fallback", "mode"]))
        steps[name][key] = draw(
            {
                "takes": some_words,
                "after": st.lists(st.sampled_from(list(steps)), unique=True, max_size=2),
                "modes": st.lists(st.sampled_from(MODES), unique=True, max_size=4),
                "privacy": st.sampled_from(list(CLASSES)),
                "fallback": st.sampled_from(list(FALLBACKS)),
                "mode": st.sampled_from([REQUEST, *MODES]),
            }[key]
        )
    order = draw(st.permutations(list(steps)))
    found["steps"] = {name: steps[name] for name in order}
    return yaml.safe_dump(found, sort_keys=False)


def accepted(text: str) -> Workflow | None:
    try:
        return workflow(text)
    except WorkflowError:
        return None


failures = st.dictionaries(st.sampled_from(list(KINDS)), st.sampled_from([AWAY, LATE]), max_size=3)


def leaks(text: str, fails: dict[str, Exception], *, keeps: bool, spoken: str) -> bool:
    """Does a file that passes let private text out, in any mode?"""
    found = accepted(text)
    if found is None:
        return False
    for mode in MODES:
        fakes = Fakes(fails=fails, keeps=keeps, spoken=spoken)
        execution = fakes.execution(found, mode)
        with suppress(GenerationError):
            list(execution.run())
        if CANARY in repr([fakes.sent, fakes.kept, execution.spans]):
            return True
        assert fakes.sent == [] or found.mode(mode) != "edge"
    return False


@given(files(), failures, st.booleans(), st.sampled_from(["", "sa"]))
@settings(max_examples=250, deadline=None)
def test_no_accepted_file_hands_private_text_to_what_sends(
    text: str, fails: dict[str, Exception], keeps: bool, spoken: str
) -> None:
    assert not leaks(text, fails, keeps=keeps, spoken=spoken)


def test_the_search_would_find_a_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "check_flow", lambda workflow: None)
    leaking = find(
        files(),
        lambda text: leaks(text, {}, keeps=False, spoken=""),
        settings=settings(max_examples=2000, deadline=None, database=None, phases=[Phase.generate]),
        random=Random(0),
    )
    monkeypatch.undo()
    with pytest.raises(WorkflowError, match=r"which (is private|step disclose)"):
        workflow(leaking)
