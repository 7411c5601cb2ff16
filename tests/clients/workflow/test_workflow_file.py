"""A workflow file: read, or refused with the line that is wrong."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from clients.workflow.steps import KINDS, MODES
from clients.workflow.workflow import WorkflowError
from clients.workflow.workflow_file import parse, read_workflow, workflow_of
from fl.settings import load
from tests.clients.workflow.files import ALWAYS, CONFIGS, DEFAULT, changed, of, without, workflow


def refused(text: str) -> str:
    with pytest.raises(WorkflowError) as error:
        workflow(text)
    return str(error.value)


def line_of(text: str, words: str) -> int:
    [line] = [n for n, each in enumerate(text.splitlines(), 1) if words in each]
    return line


def test_the_shipped_file_is_read_as_it_stands() -> None:
    found = workflow_of(load())
    assert [step.name for step in found.in_order()] == list(KINDS)
    assert (found.deadline_s, found.modes) == (600, MODES)
    assert (found.longest_s(60), found.longest_s(1000)) == (2 + 2 + 10 + 10 + 3 * 60, 610)
    profile, enrich = found.steps[:2]
    assert (profile.deadline_s, enrich.deadline_s) == (2, None)  # None: asking.timeout_s
    assert [word.text for word in enrich.takes] == ["short", "card"]
    assert enrich.line == line_of(DEFAULT, "  enrich:")
    assert workflow(ALWAYS).step("generate").fallback.text == "edge"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["workflow.yaml", "workflow_always_answers.yaml"])
def test_shipped_files_pass(name: str) -> None:
    read_workflow(CONFIGS / name, source=name)


def test_every_key_is_explained_where_it_stands_first() -> None:
    seen = set()
    for line in DEFAULT.splitlines():
        if (key := re.match(r"\s*([a-z_]+):", line)) and key[1] not in {*seen, *KINDS}:
            assert "#" in line, line
            seen.add(key[1])
    assert seen == {
        *("deadline_s", "steps", "does", "takes", "after", "modes", "mode", "privacy", "fallback")
    }


# What would let private text out: step, key, value, and what is said of the line.
LEAKS = [
    (
        "generate",
        "takes",
        "[way, draft, enriched]",
        "step generate sends `enriched`, which is private; only what a disclose step gives may "
        "leave. Let it take `disclosed`.",
    ),
    ("generate", "takes", "[way, draft, disclosed, short]", "sends `short`, which is private"),
    ("generate", "takes", "[way, draft, disclosed, card]", "sends `card`, which is private"),
    ("generate", "fallback", "short", "would fall back to `short`, the short prompt"),
    ("disclose", "fallback", "short", "would fall back to `short`, the short prompt"),
    ("disclose", "privacy", "private", "which step disclose (line"),
    ("disclose", "privacy", "open", "calls what it gives open, but `disclosed` is disclosed"),
    ("disclose", "takes", "[enriched, short, card]", "has no use for `card`"),
    ("enrich", "privacy", "disclosed", "disclosed, but it takes `short`, which is private"),
    ("profile", "privacy", "open", "calls what it gives open, but `card` is private"),
    ("draft", "privacy", "open", "open, but it takes `enriched`, which is private"),
    ("generate", "privacy", "open", "it takes `draft`, which is private"),
    ("record", "takes", "[figures, answer]", "keeps `answer`, which is private; only open values"),
    ("record", "takes", "[figures, short]", "keeps `short`, which is private"),
    ("record", "takes", "[figures, disclosed]", "keeps `disclosed`, which is disclosed"),
]


@pytest.mark.parametrize(("step", "key", "value", "says"), LEAKS)
def test_a_file_that_would_leak_is_refused_with_its_line(
    step: str, key: str, value: str, says: str
) -> None:
    text = of(step, key, value)
    told = refused(text)
    assert says in told
    at = re.match(r"w\.yaml, line (\d+): ", told)
    assert at is not None
    line = text.splitlines()[int(at[1]) - 1]
    if "which step disclose" in told:  # the line that sends it; the text names the other one
        assert line.strip() == "takes: [way, draft, disclosed]"
    else:
        assert line.strip() == f"{key}: {value}"


WRONG = [
    (changed(("  enrich:", "  Enrich my text:")), "the name of a step is"),
    (of("enrich", "does", "enrihc"), "unknown kind of step: `enrihc`. Did you mean enrich?"),
    (of("enrich", "taks", "[short]"), "step enrich has no key `taks`. Did you mean takes?"),
    (of("enrich", "takes", "[short, crad]"), "`takes` of step enrich: `crad`. Did you mean card?"),
    (of("enrich", "takes", "[short, short]"), "`takes` names short twice"),
    (of("enrich", "takes", "short"), "`takes` is a list"),
    (of("enrich", "takes", "[card]"), "step enrich takes no `short`, which mode"),
    (of("enrich", "takes", "[short, disclosed]"), "step enrich has no use for `disclosed`"),
    (of("generate", "takes", "[way, draft, figures]"), "takes `figures`, which it gives itself"),
    (of("enrich", "after", "[rute]"), "`after` of step enrich: `rute`. Did you mean route?"),
    (of("enrich", "after", "[enrich]"), "step enrich waits for itself"),
    (
        of("enrich", "after", "[generate]"),
        "wait for each other: enrich waits for generate waits for route waits for draft waits for "
        "enrich; take this away",
    ),
    (of("enrich", "modes", "[edgy]"), "`modes` of step enrich: `edgy`. Did you mean edge?"),
    (of("enrich", "modes", "[synergy]"), "in mode edge step draft has nothing to take"),
    (of("draft", "modes", "[edge]"), "in mode auto step route has nothing to take"),
    (of("disclose", "modes", "[synergy, auto]"), "in mode cloud step generate has nothing"),
    (of("disclose", "takes", "[enriched]"), "in mode cloud step disclose has nothing to take"),
    (of("route", "modes", "[edge]"), "step route is a step of every mode"),
    (of("route", "mode", "fastest"), "`mode` of step route: `fastest`"),
    (of("enrich", "mode", "edge"), "`mode` belongs to route"),
    (of("enrich", "privacy", "secret"), "`privacy` of step enrich: `secret`"),
    (of("enrich", "fallback", "shrt"), "`fallback` of step enrich: `shrt`. Did you mean short?"),
    (of("enrich", "fallback", "edge"), "step enrich cannot fall back to edge"),
    (of("disclose", "fallback", "skip"), "step disclose cannot fall back to skip"),
    (of("generate", "fallback", "edge"), "in mode cloud step draft has nothing to take"),
    (of("enrich", "deadline_s", "0"), "`deadline_s` is seconds above 0"),
    (of("enrich", "deadline_s", ".inf"), "`deadline_s` is seconds above 0"),
    (of("enrich", "deadline_s", "soon"), "or asking.timeout_s; found `soon`"),
    (of("enrich", "takes", "[[short]]"), "one word stands here"),
    (changed(("deadline_s: 600", "deadline: 600")), "no key `deadline`. Did you mean deadline_s?"),
    (changed(("  enrich:", "  profile:")), "`profile` stands here twice; line"),
    (changed(("does: enrich ", "does: draft ")), "steps enrich and draft both do draft"),
    (changed(("    privacy: private    # class", "    # class")), "does not say its privacy"),
    (changed(("steps: ", "step: ")), "no key `step`. Did you mean steps?"),
    (changed(("privacy: open", "privacy: [open")), "not valid YAML"),
    (without("record"), "there is no step that does record"),
    (without("route"), "there is no step that does route"),
    (without("disclose"), "takes `disclosed`, but there is no step that does disclose"),
    ("", "is written as `key: value` lines"),
    ("steps: {}\n", "`steps` is empty"),
    ("deadline_s: 3\n", "a workflow has `steps:`"),
    ("steps: &a\n  x: *a\n", "step x has no key `x`"),
]


@pytest.mark.parametrize(("text", "says"), WRONG)
def test_what_cannot_be_executed_is_refused_with_its_line(text: str, says: str) -> None:
    told = refused(text)
    assert says in told
    assert re.match(r"w\.yaml, line \d+: ", told)


def test_the_line_is_that_of_the_word() -> None:
    spread = changed(
        ("takes: [way, draft, disclosed]", "takes:\n    - way\n    - draft\n    - card")
    )
    assert f"line {line_of(spread, '- card')}: step generate sends `card`" in refused(spread)
    round_ = of("enrich", "after", "[generate]")
    assert f"line {line_of(round_, 'after: [generate]')}: steps wait" in refused(round_)
    lie = of("disclose", "privacy", "private")
    at = lie.splitlines().index("    privacy: private", lie.splitlines().index("  disclose:")) + 1
    assert f"which step disclose (line {at}) calls private" in refused(lie)


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    for data, says in ((b"\xff\xfe\x00", "UTF-8"), (b"a" * 200_000, "bytes at the most")):
        with pytest.raises(WorkflowError, match=says):
            parse(data, source="w.yaml")
    with pytest.raises(WorkflowError, match="cannot be read"):
        read_workflow(tmp_path / "none.yaml", source="none.yaml")


@pytest.mark.parametrize("verb", [["workflow", "FILE"], ["ask", "a table", "workflow=FILE"]])
def test_a_leaking_file_ends_the_verb_with_one_sentence(tmp_path: Path, verb: list[str]) -> None:
    file = tmp_path / "leak.yaml"
    file.write_text(of("generate", "takes", "[way, draft, enriched]"))
    words = [word.replace("FILE", str(file)) for word in verb]
    done = subprocess.run(
        [sys.executable, "-m", "clients", *words, f"var={tmp_path}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=CONFIGS.parent,
    )
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{file}, line ")
    assert "step generate sends `enriched`, which is private" in line
    assert not list(tmp_path.glob("demo*"))  # before any work
