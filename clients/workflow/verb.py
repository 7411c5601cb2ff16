"""The verbs `workflow` and `trace`: a file as a table, a request as a line of time."""

from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from clients.workflow.steps import KINDS, REQUEST
from clients.workflow.trace import Span, Trace
from clients.workflow.trace_file import trace_file, traces
from clients.workflow.workflow import StepSpec, Workflow
from clients.workflow.workflow_file import ASKING, read_workflow
from fl.errors import FederationError
from fl.settings import Settings, resolve

LAST = "last"
WIDTH = 24  # characters of a line of time
_COLOURS = {"ok": "green", "skipped": "dim", "fallback": "yellow", "late": "yellow"}


def show_workflow(settings: Settings, file: str, console: Console) -> None:
    """Check a file ("": that of the settings) and print its steps. Raises WorkflowError."""
    source = file or settings.workflow
    workflow = read_workflow(resolve(source), source=source)
    console.print(Text(f"  {source}, digest {workflow.digest}: it lets no private text out\n"))
    table = Table(box=None, pad_edge=False)
    for column in ("", "step", "takes", "gives", "privacy", "sends", "deadline s", "fallback"):
        table.add_column(column)
    table.add_column("after")
    table.add_column("modes")
    for number, step in enumerate(workflow.in_order(), start=1):
        table.add_row(*map(Text, [str(number), *_row(workflow, step, settings.asking.timeout_s)]))
    console.print(table)
    whole = workflow.deadline_s
    console.print(
        Text(
            f"\n  A whole request: {f'{whole:g} s' if whole else 'as long as its steps'}. "
            f"* {ASKING}"
        )
    )


def _row(workflow: Workflow, step: StepSpec, timeout_s: float) -> list[str]:
    kind, taken = KINDS[step.does.text], [word.text for word in step.takes]
    sent = [value for slot in kind.slots if slot.verb == "sends" for value in slot.values]
    name = step.name if step.name == kind.name else f"{step.name} ({kind.name})"
    fixed = "" if step.mode.text == REQUEST else f", mode {step.mode.text}"
    after = dict.fromkeys(other.name for other, _ in workflow.before(step))
    return [
        name + fixed,
        ", ".join(taken) or "-",
        ", ".join([kind.gives, *kind.also]) if kind.gives else "-",
        step.privacy.text,
        ", ".join(value for value in taken if value in sent) or "-",
        f"{timeout_s:g} *" if step.deadline_s is None else f"{step.deadline_s:g}",
        step.fallback.text,
        ", ".join(after) or "-",
        ", ".join(word.text for word in step.modes) or "all",
    ]


def show_trace(settings: Settings, site_id: str, wanted: str, console: Console) -> None:
    """Print one request's steps; `wanted` is a request's id, its beginning, or `last`.

    Raises FederationError where there is no such trace.
    """
    file, found = trace_file(settings, site_id), None
    for trace in traces(file):
        if wanted == LAST or trace.request_id.startswith(wanted):
            found = trace
    if found is None:
        what = "any request" if wanted == LAST else f"a request {wanted}"
        raise FederationError(
            f"{file} holds no trace of {what}. Ask something first (./run.sh ask), or take a "
            "request_id of the site's ledger.jsonl."
        )
    at = datetime.fromtimestamp(found.at, UTC)
    console.print(
        Text(
            f"  request {found.request_id} at {found.site_id}, {at:%Y-%m-%d %H:%M:%S} UTC\n"
            f"  wanted {found.wanted}, answered by {found.mode}, {found.outcome} after "
            f"{found.seconds:.3f} s; workflow {found.workflow}\n"
        )
    )
    table = Table(box=None, pad_edge=False)
    for column in ("step", "privacy"):
        table.add_column(column, no_wrap=True)
    for column in ("start s", "took s"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("0 s" + f"{found.seconds:.3f} s".rjust(WIDTH - 3), no_wrap=True)
    for column in ("outcome", "fallback", "why"):
        table.add_column(column)
    for span in sorted(found.steps, key=lambda span: span.start_s):
        colour = _COLOURS.get(span.outcome, "red")
        begun = span.outcome != "skipped"
        table.add_row(
            Text(span.step),
            Text(span.privacy),
            Text(f"{span.start_s:.3f}" if begun else ""),
            Text(f"{span.seconds:.3f}" if begun else ""),
            Text(bar(span, found) if begun else "", style=colour),
            Text(span.outcome, style=colour),
            Text(span.fallback or "-"),
            Text(span.why or "-"),
        )
    console.print(table)


def bar(span: Span, trace: Trace) -> str:
    """Where on the line of time a step was; at least one mark."""
    whole = max(trace.seconds, 1e-9)
    first = min(WIDTH - 1, max(0, round(WIDTH * span.start_s / whole)))
    last = min(WIDTH, max(first + 1, round(WIDTH * (span.start_s + span.seconds) / whole)))
    return " " * first + "█" * (last - first)
