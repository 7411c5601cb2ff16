"""The verb `act`: inferred intents become proposed actions; a person has them applied."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from rich.console import Console
from rich.text import Text

from clients.insight.acting.actions import Action, document
from clients.insight.acting.actuator import Actuator
from clients.insight.acting.audit import Audit
from clients.insight.acting.carrying_out import CarryingOut, Consent, Step
from clients.insight.acting.proposing import INTENTS, inferred, propose
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
    actuator: Actuator,
    consent: Consent = Consent(),  # noqa: B008 - frozen
) -> list[Action]:
    """Print what the intents ask for and what it would change; with consent do all of it or none.

    `intents` is one {intent, slots, confidence} or a list of them; a refusal refuses all. What
    takes something away, or is partly a guess, needs its id, typed or in `consent.confirm`, after a
    dry run of the very same effect at most acting.expires_s ago. Every step is audited. Raises
    ActionError.
    """
    audit = Audit(network_folder(settings))
    audit.lines()  # an audit that was tampered with ends it here
    actions = _proposed(settings, intents, audit)
    try:
        effects = actuator.dry_run_all(actions)
    except ActionError:
        for action in actions:
            audit.add("refused", action=action.id, kind=action.kind, reason="impossible")
        raise
    actions = [
        replace(action, destructive=action.destructive or effect.destructive)
        for action, effect in zip(actions, effects, strict=True)
    ]
    console.print_json(json.dumps([document(action) for action in actions]))
    steps = [
        Step(
            id=action.id,
            kind=action.kind,
            effect=effect,
            destructive=action.destructive,
            assumed=action.assumed,
            expires=action.expires,
        )
        for action, effect in zip(actions, effects, strict=True)
    ]
    _carrying_out(settings, audit, console, actuator, consent)(
        steps, lambda agree: actuator.apply_all(actions, agree=agree), done="applied"
    )
    return actions


def undo(
    settings: Settings,
    action_id: str,
    console: Console,
    *,
    actuator: Actuator,
    consent: Consent = Consent(),  # noqa: B008 - frozen
) -> None:
    """Print what taking back the newest action would change; with consent take it back.

    Raises ActionError where `action_id` is another one, and as `propose_and_apply` does.
    """
    audit = Audit(network_folder(settings))
    kind = audit.kind_of(action_id)
    try:
        effect = actuator.dry_run_undo(action_id)
    except ActionError:
        audit.add("refused", reason="impossible")  # no id: it may be any text
        raise
    step = Step(id=action_id, kind=kind, effect=effect, destructive=effect.destructive)
    _carrying_out(settings, audit, console, actuator, consent)(
        [step], lambda agree: [actuator.undo(action_id, agree=agree)], done="undone"
    )


def show_audit(settings: Settings, console: Console) -> None:
    """Print the audit, whose chain is checked. Raises ActionError where it was tampered with."""
    lines = Audit(network_folder(settings)).lines()
    rows = [
        [
            *(str(n.number), n.at, n.who, n.event, n.action, n.kind, n.reason),
            *(", ".join(map(_rule, its)) for its in (n.rules, n.removed)),
        ]
        for n in lines
    ]
    header = "line at who event action kind reason sets removes".split()
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


def _rule(rule: Mapping[str, Any]) -> str:
    return f"{rule['site']} {rule['kind']}={rule['word'] or format(rule['value'], 'g')}"


def _carrying_out(
    settings: Settings, audit: Audit, console: Console, actuator: Actuator, consent: Consent
) -> CarryingOut:
    return CarryingOut(
        audit=audit,
        console=console,
        consent=consent,
        seen=actuator.seen,
        expires_s=settings.acting.expires_s,
    )
