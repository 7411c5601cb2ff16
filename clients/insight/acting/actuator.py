"""What carries out management actions."""

from dataclasses import dataclass
from typing import Protocol

from clients.insight.acting.actions import Action
from fl.network.rules import Rule


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A number or word that an action changes, as the deployment uses it."""

    what: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What an action does, or would do."""

    action: str  # its id
    figures: tuple[Figure, ...]
    rules: tuple[Rule, ...]  # that hold afterwards because of it


class Actuator(Protocol):
    """Anything that can. All raise ActionError where it cannot, and have changed nothing then."""

    def dry_run(self, action: Action) -> Effect:
        """What it would do; changes nothing."""

    def apply(self, action: Action) -> Effect:
        """Do it; it is done, and on disk, when this returns."""

    def undo(self, action_id: str) -> Effect:
        """Take back the newest action, whose id this is."""
