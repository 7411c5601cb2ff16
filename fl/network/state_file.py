"""The rules on disk: RUN/network/rules.json, published whole, read again when it has changed.

Beside the rules it keeps what held before each of the last actions, so that one can be taken back.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from fl import durable
from fl.errors import ActionError
from fl.network.rules import Rule, Rules, is_rule
from fl.settings import Settings

log = logging.getLogger(__name__)

FILE = "rules.json"
KEPT = 32  # actions that can be taken back


@dataclass(frozen=True, kw_only=True)
class Past:
    """What held before an action."""

    action: str
    before: Rules


@dataclass(frozen=True, kw_only=True)
class NetworkState:
    """The file's content."""

    now: Rules = field(default_factory=Rules)
    past: tuple[Past, ...] = ()  # the newest last

    def after(self, action: str, rules: Rules) -> "NetworkState":
        """These rules hold from now on, because of an action."""
        past = (*self.past, Past(action=action, before=self.now))[-KEPT:]
        return NetworkState(now=rules, past=past)

    def undone(self, action: str) -> "NetworkState":
        """As before the newest action. Raises ActionError where that is another one."""
        if not self.past or self.past[-1].action != action:
            newest = self.past[-1].action if self.past else "none"
            raise ActionError(
                f"Only the newest action can be taken back; that is {newest}, found {action}."
            )
        return replace(self, now=self.past[-1].before, past=self.past[:-1])


def network_folder(settings: Settings) -> Path:
    """Where rules and the audit lie."""
    return settings.run_dir / "network"


def read_state(folder: Path) -> NetworkState:
    """The state; the empty one where nothing was ever set. Raises ActionError for a damaged one."""
    try:
        found = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return NetworkState(
            now=_rules(found["rules"]),
            past=tuple(
                Past(action=str(one["action"]), before=_rules(one["before"]))
                for one in found["past"]
            ),
        )
    except FileNotFoundError:
        return NetworkState()
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ActionError(
            f"{folder / FILE} is not what this program writes. Put back a copy, or take it away to "
            "begin without rules: then nothing is denied, kept or bounded."
        ) from None


def publish_state(folder: Path, state: NetworkState) -> None:
    """Replace it; a reader sees the old one or the new one. Raises OSError."""
    content = {
        "rules": [asdict(rule) for rule in state.now.rules],
        "past": [
            {"action": one.action, "before": [asdict(rule) for rule in one.before.rules]}
            for one in state.past
        ],
    }
    durable.publish(folder / FILE, json.dumps(content, indent=1).encode() + b"\n")


class NetworkRules:
    """The rules as they are now, for whoever decides about a request. For any thread."""

    def __init__(self, folder: Path) -> None:
        """Reads them. Raises ActionError where they cannot be read: nothing starts without rules
        that somebody has set.
        """
        self._folder, self._lock = folder, Lock()
        self._seen: tuple[int, int] | None = None  # what the file was like when it was read
        self._rules = Rules()
        self._told = False
        try:
            self._look()
        except OSError as error:
            raise ActionError(
                f"{folder / FILE} cannot be read ({error.strerror}), and who sets rules must be "
                "obeyed. Make it readable for this user."
            ) from None

    def __call__(self) -> Rules:
        """While the file is damaged or out of reach, what held before holds on."""
        with self._lock:
            try:
                self._look()
            except (ActionError, OSError):
                if not self._told:
                    log.warning("%s cannot be read; its last rules hold on", self._folder / FILE)
                self._told = True
            return self._rules

    def _look(self) -> None:
        try:
            its = (self._folder / FILE).stat()
        except FileNotFoundError:
            self._seen, self._rules = None, Rules()
            return
        seen = (its.st_mtime_ns, its.st_ino)
        if seen != self._seen:
            self._rules = read_state(self._folder).now
            self._seen, self._told = seen, False


def _rules(found: Sequence[Any]) -> Rules:
    return Rules(rules=tuple(_rule(one) for one in found))


def _rule(found: Any) -> Rule:
    rule = Rule(
        kind=str(found["kind"]),
        site=str(found["site"]),
        value=float(found["value"]),
        word=str(found["word"]),
        action=str(found["action"]),
    )
    if not is_rule(rule):
        raise ValueError("no such rule")
    return rule
