"""Where private text may go, checked before anything runs.

Every value has a class (privacy.py). Its step declares it, never more open than what the step
takes, but for the steps that release: `disclose` makes disclosed text of private, `route` a mere
name. A slot that leads out (`generate` sends, `record` keeps) takes nothing more private than it
may; a fallback gives nothing more private than its step declares.
"""

from collections.abc import Mapping

from clients.workflow.privacy import Privacy
from clients.workflow.steps import EDGE, GIVERS, KINDS, SHORT, Slot
from clients.workflow.workflow import StepSpec, Word, Workflow, WorkflowError, gives

_DOOR = {
    "sends": "only what a disclose step gives may leave",
    "keeps": "only open values may be kept",
}


def classes(workflow: Workflow) -> Mapping[str, Privacy]:
    """Every value of the workflow and its class, as declared."""
    found = {SHORT: Privacy.PRIVATE}
    for step in workflow.steps:
        found |= gives(step)
    return found


def check_flow(workflow: Workflow) -> None:
    """Raise WorkflowError where a step takes or declares what it must not."""
    known = classes(workflow)
    for step in workflow.steps:
        for word in step.takes:
            _taken(workflow, step, word, known)
        _declared(workflow, step, known)


def _taken(workflow: Workflow, step: StepSpec, word: Word, known: Mapping[str, Privacy]) -> None:
    kind = KINDS[step.does.text]
    slot, door = kind.slot_of(word.text), kind.guarded
    if word.text not in known:
        raise workflow.refuse(
            word.line,
            f"step {step.name} takes `{word.text}`, but there is no step that does "
            f"{GIVERS[word.text]}.",
        )
    if slot is None and door is not None and known[word.text] < door.least:
        raise _leak(workflow, step, word, known[word.text], door)
    if slot is None:
        wanted = ", ".join(f"`{v}`" for each in kind.slots for v in each.values)
        raise workflow.refuse(
            word.line,
            f"step {step.name} has no use for `{word.text}`; it takes {wanted or 'nothing'}.",
        )
    if known[word.text] < slot.least:
        giver = workflow.step(GIVERS[word.text])
        assert giver is not None
        raise workflow.refuse(
            word.line,
            f"step {step.name} {slot.verb} `{word.text}`, which step {giver.name} (line "
            f"{giver.privacy.line}) calls {giver.privacy.text}; {_DOOR[slot.verb]}. Let step "
            f"{giver.name} say {slot.least.word}, or send nothing.",
        )


def _leak(
    workflow: Workflow, step: StepSpec, word: Word, found: Privacy, door: Slot
) -> WorkflowError:
    instead = " or ".join(f"`{value}`" for value in door.values)
    return workflow.refuse(
        word.line,
        f"step {step.name} {door.verb} `{word.text}`, which is {found.word}; "
        f"{_DOOR[door.verb]}. Let it take {instead}.",
    )


def _declared(workflow: Workflow, step: StepSpec, known: Mapping[str, Privacy]) -> None:
    """What a step gives is called no more open than it is."""
    kind, said = KINDS[step.does.text], step.privacy_class
    for word in step.takes:
        if not kind.releases and kind.gives and said > known[word.text]:
            raise workflow.refuse(
                step.privacy.line,
                f"step {step.name} calls what it gives {said.word}, but it takes `{word.text}`, "
                f"which is {known[word.text].word}. Say {known[word.text].word}; a disclose step "
                "makes disclosed text of it.",
            )
    if said > kind.privacy:
        raise workflow.refuse(
            step.privacy.line,
            f"step {step.name} calls what it gives {said.word}, but `{kind.gives}` is "
            f"{kind.privacy.word} at the most. Say {kind.privacy.word}.",
        )


def check_fallbacks(workflow: Workflow) -> None:
    """Raise WorkflowError for a fallback that its step cannot take, or that would leak."""
    for step in workflow.steps:
        kind, word = KINDS[step.does.text], step.fallback
        if word.text in kind.fallbacks:
            continue
        rest = " or ".join(kind.fallbacks)
        if word.text == SHORT and (kind.guarded or step.privacy_class > Privacy.PRIVATE):
            raise workflow.refuse(
                word.line,
                f"step {step.name} would fall back to `short`, the short prompt, which is "
                f"private; {_DOOR['sends']}. Its fallback is {rest}.",
            )
        raise workflow.refuse(
            word.line, f"step {step.name} cannot fall back to {word.text}; its fallback is {rest}."
        )


def check_modes(workflow: Workflow) -> None:
    """Raise WorkflowError where, in some mode, a step has not what it cannot do without."""
    for mode in workflow.modes:
        there = {SHORT} | {
            value for step in workflow.steps if step.done_in(mode) for value in gives(step)
        }
        for step in workflow.steps:
            kind = KINDS[step.does.text]
            if step.done_in(mode):
                for slot in kind.slots:
                    if mode in slot.needed and not _filled(step, slot, there):
                        raise _lacking(workflow, step, slot, mode, step.line)
            if step.fallback.text == EDGE:
                _edge_is_there(workflow, step, mode, there)


def _edge_is_there(workflow: Workflow, step: StepSpec, mode: str, there: set[str]) -> None:
    """The site's own answer can be written in this mode, and generate hands it over."""
    draft, generate = workflow.step("draft"), workflow.step("generate")
    assert generate is not None
    line = step.fallback.line
    if draft is None:
        raise workflow.refuse(
            line,
            f"step {step.name} falls back to edge, the site's own answer, but there is no step "
            "that does draft; add one.",
        )
    if "draft" not in {word.text for word in generate.takes}:
        raise workflow.refuse(
            line,
            f"step {step.name} falls back to edge, the site's own answer, but step "
            f"{generate.name} does not take `draft`; let it.",
        )
    (slot,) = KINDS["draft"].slots
    if not _filled(draft, slot, there):
        raise _lacking(workflow, draft, slot, mode, line)


def _filled(step: StepSpec, slot: Slot, there: set[str]) -> bool:
    return any(word.text in slot.values and word.text in there for word in step.takes)


def _lacking(workflow: Workflow, step: StepSpec, slot: Slot, mode: str, line: int) -> WorkflowError:
    taken = [word.text for word in step.takes if word.text in slot.values]
    wanted = " or ".join(f"`{value}`" for value in slot.values)
    if not taken:
        return workflow.refuse(
            line, f"step {step.name} takes no {wanted}, which mode {mode} needs; let it."
        )
    return workflow.refuse(
        line,
        f"in mode {mode} step {step.name} has nothing to take: nobody gives "
        f"`{'` or `'.join(taken)}` in that mode. Widen the `modes` of its step, or take {wanted}.",
    )
