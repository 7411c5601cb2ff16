"""Is a workflow one that can be executed? Words, steps, order; flow.py looks at privacy.

The first mistake is raised as a WorkflowError that names the line.
"""

from clients.workflow.flow import check_fallbacks, check_flow, check_modes
from clients.workflow.near import near
from clients.workflow.privacy import CLASSES
from clients.workflow.steps import FALLBACKS, KINDS, MODES, REQUEST, VALUES
from clients.workflow.workflow import StepSpec, Workflow


def check(workflow: Workflow) -> None:
    """Raise WorkflowError unless the file can be executed and lets no private text out."""
    for step in workflow.steps:
        _words(workflow, step)
    _one_of_each(workflow)
    check_flow(workflow)
    check_fallbacks(workflow)
    workflow.in_order()  # refuses a cycle
    check_modes(workflow)


def _words(workflow: Workflow, step: StepSpec) -> None:
    """Every word is one that there is."""
    names = {each.name for each in workflow.steps}
    words = [
        ("does", (step.does,), KINDS),
        ("takes", step.takes, VALUES),
        ("after", step.after, names),
        ("modes", step.modes, MODES),
        ("mode", (step.mode,), (REQUEST, *MODES)),
        ("privacy", (step.privacy,), CLASSES),
        ("fallback", (step.fallback,), FALLBACKS),
    ]
    for key, found, known in words:
        for word in found:
            if word.text not in known:
                what = "kind of step" if key == "does" else f"`{key}` of step {step.name}"
                raise workflow.refuse(
                    word.line, f"unknown {what}: `{word.text}`. {near(word.text, known)}"
                )
    if step.mode.text != REQUEST and step.does.text != "route":
        raise workflow.refuse(step.mode.line, f"`mode` belongs to route, not to step {step.name}.")
    if step.modes and KINDS[step.does.text].required:
        raise workflow.refuse(
            step.modes[0].line,
            f"step {step.name} is a step of every mode; leave `modes` away.",
        )


def _one_of_each(workflow: Workflow) -> None:
    """Each kind once at the most, and what no request can do without."""
    seen: dict[str, StepSpec] = {}
    for step in workflow.steps:
        if (first := seen.get(step.does.text)) is not None:
            raise workflow.refuse(
                step.line,
                f"steps {first.name} and {step.name} both do {step.does.text}; one is enough.",
            )
        seen[step.does.text] = step
    for kind in KINDS.values():
        if kind.required and kind.name not in seen:
            raise workflow.refuse(
                workflow.line, f"there is no step that does {kind.name} ({kind.says}); add one."
            )
    for step in workflow.steps:
        for word in step.takes:
            kind = KINDS[step.does.text]
            if word.text == kind.gives or word.text in kind.also:
                raise workflow.refuse(
                    word.line, f"step {step.name} takes `{word.text}`, which it gives itself."
                )
