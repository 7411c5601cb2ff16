"""What carries out management actions."""

from collections.abc import Callable, Sequence
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
    rules: tuple[Rule, ...]  # that hold afterwards and did not before
    removed: tuple[Rule, ...]  # that held before and do not afterwards
    destructive: bool  # something that works now may no longer, or leaves a site that did not
    digest: (
        str  # of whom it is about, and all that holds before and after: another effect's differs
    )


Agree = Callable[[Sequence[Effect]], None]


class Actuator(Protocol):
    """Anything that can. All raise ActionError where it cannot, and have changed nothing then.

    `agree` is told the effects as they are when nobody else can change anything any more; what it
    raises has nothing done.
    """

    @property
    def seen(self) -> str:
        """Where figures come from, for people."""

    def dry_run_all(self, actions: Sequence[Action]) -> list[Effect]:
        """What they would do, each after those before it; changes nothing."""

    def apply_all(self, actions: Sequence[Action], *, agree: Agree) -> list[Effect]:
        """Do all or none; they are done, and on disk, when this returns."""

    def dry_run_undo(self, action_id: str) -> Effect:
        """What taking back the newest action would do, whose id this is; changes nothing."""

    def undo(self, action_id: str, *, agree: Agree) -> Effect:
        """Take it back."""
