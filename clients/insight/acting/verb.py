"""The verb `act`: inferred intents become proposed actions; a person has them applied."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from clients.insight.acting.actions import Action, document
from clients.insight.acting.actuator import Effect
from clients.insight.acting.audit import Audit
from clients.insight.acting.deployment import as_the_cloud_sees_it, deployment_of
from clients.insight.acting.proposing import INTENTS, inferred, propose
from clients.insight.acting.simulator import Simulator
from fl.errors import ActionError
from fl.markdown_table import table
from fl.network.state_file import network_folder
from fl.settings import Settings

MOST_INTENTS = 32


def propose_and_apply(
    settings: Settings,
    intents: object,
    console: Console,
    *,
    apply: bool = False,
    yes: bool = False,
    confirm: str = "",
    ask: Callable[[str], str] | None = None,
) -> list[Action]:
    """Print what the intents ask for and what it would change; with `apply` do it.

    `intents` is one {intent, slots, confidence} or a list of them; a refusal refuses all. `ask`
    asks a person on a terminal, None where there is none. `yes` skips that for actions that take
    nothing away; the others need their id, typed or in `confirm` (several: with commas), after a
    dry run at most acting.expires_s ago. Every step is audited. Raises ActionError.
    """
    folder, its_audit = network_folder(settings), Audit(network_folder(settings))
    its_audit.lines()  # an audit that was tampered with ends it here
    # 1. What is asked for?
    actions = _proposed(settings, intents, its_audit)
    console.print_json(json.dumps([document(action) for action in actions]))
    # 2. What would it change?
    deployment, live = as_the_cloud_sees_it(deployment_of(settings), settings)
    simulator = Simulator(folder, deployment)
    confirmable = {action.id for action in actions if _seen_lately(action, its_audit, settings)}
    try:
        effects = simulator.dry_run_all(actions)
    except ActionError:
        for action in actions:
            its_audit.add("refused", action=action.id, kind=action.kind, reason="impossible")
        raise
    for action, effect in zip(actions, effects, strict=True):
        its_audit.add("dry_run", action=action.id, kind=action.kind, rules=effect.rules)
    _show(console, effects, live=live)
    if not apply:
        console.print("  A dry run: nothing has changed. apply=true applies it.")
        for action in actions:
            if action.needs_confirmation:
                console.print(f"  {action.id} needs confirmation: {_why(action)}.")
        return actions
    # 3. Does a person want it?
    confirmed = {one.strip() for one in confirm.split(",")} & confirmable
    for action in actions:
        if not _wanted(action, confirmed, yes=yes, ask=ask):
            its_audit.add("refused", action=action.id, kind=action.kind, reason="unconfirmed")
            raise ActionError(
                f"Nothing was applied: {action.id} is not confirmed ({_why(action)}). Look at a "
                f"dry run, then say confirm={action.id} within {settings.acting.expires_s:g} s, or "
                "type the id on a terminal."
            )
        its_audit.add("confirmed", action=action.id, kind=action.kind)
    # 4. Do it.
    for action in actions:
        if time.time() > action.expires:
            its_audit.add("refused", action=action.id, kind=action.kind, reason="expired")
            raise ActionError(f"Action {action.id} has expired before it was confirmed.")
        done = simulator.apply(action)
        its_audit.add("applied", action=action.id, kind=action.kind, rules=done.rules)
        console.print(f"  applied {action.id}")
    return actions


def undo(settings: Settings, action_id: str, console: Console) -> None:
    """Take back the newest action. Raises ActionError where `action_id` is another one."""
    audit = Audit(network_folder(settings))
    audit.lines()
    effect = Simulator(network_folder(settings), deployment_of(settings)).undo(action_id)
    audit.add("undone", action=action_id, rules=effect.rules)
    _show(console, [effect], live=False)


def show_audit(settings: Settings, console: Console) -> None:
    """Print the audit, whose chain is checked. Raises ActionError where it was tampered with."""
    lines = Audit(network_folder(settings)).lines()
    rows = [
        [str(n.number), n.at, n.who, n.event, n.action, n.kind, n.reason, str(len(n.rules))]
        for n in lines
    ]
    header = ["line", "at", "who", "event", "action", "kind", "reason", "rules"]
    console.print(Text(table(header, rows)), soft_wrap=True)
    console.print(f"  {len(lines)} lines; the chain of digests holds.")


def _proposed(settings: Settings, intents: object, audit: Audit) -> list[Action]:
    many: Sequence[Any] = intents if isinstance(intents, list) else [intents]
    if not 1 <= len(many) <= MOST_INTENTS:
        raise ActionError(f"Give 1 to {MOST_INTENTS} intents, found {len(many)}.")
    now = time.time()
    actions: list[Action] = []
    for one in many:
        try:
            actions += propose(inferred(one), settings, now=now)
        except ActionError:
            audit.add("refused", reason=_reason(one, settings))
            raise
    for action in actions:
        audit.add("proposed", action=action.id, kind=action.kind)
    return actions


def _reason(found: object, settings: Settings) -> str:
    if not isinstance(found, Mapping):
        return "malformed"
    intent, confidence = found.get("intent"), found.get("confidence")
    if not isinstance(intent, str) or any(part not in INTENTS for part in intent.split("+")):
        return "out_of_scope"
    if isinstance(confidence, int | float) and confidence < settings.acting.least_confidence:
        return "unsure"
    return "unreadable"


def _seen_lately(action: Action, audit: Audit, settings: Settings) -> bool:
    """Has a person been able to look at a dry run of it, not too long ago?"""
    at = audit.tried_at(action.id)
    return at is not None and time.time() - at <= settings.acting.expires_s


def _wanted(
    action: Action, confirmed: set[str], *, yes: bool, ask: Callable[[str], str] | None
) -> bool:
    if action.id in confirmed:
        return True
    if not action.needs_confirmation:
        if yes or ask is None:  # apply=true is somebody's word already
            return True
        return ask(f"Apply {action.id} ({action.kind})? [y/N] ").strip().lower() in ("y", "yes")
    if ask is None:
        return False
    return ask(f"{action.id}: {_why(action)}. Type its id to apply it: ").strip() == action.id


def _why(action: Action) -> str:
    parts = ["something that works now may no longer"] if action.destructive else []
    if action.assumed:
        parts.append("the request did not say " + ", ".join(action.assumed))
    return "; ".join(parts) or "it changes the network"


def _show(console: Console, effects: Sequence[Effect], *, live: bool) -> None:
    rows = [[e.action, f.what, f.before, f.after] for e in effects for f in e.figures]
    if rows:
        header = ["action", "what", "before", "after"]
        console.print(Text(table(header, rows)), soft_wrap=True)
    seen = "the cloud's book" if live else "the settings, for no cloud answers"
    console.print(f"  Links and paces are those of {seen}.")
