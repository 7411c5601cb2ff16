"""The verb with a controller of somebody's own: it needs no more than the protocol says."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from rich.console import Console

from clients.insight.acting.actions import Action
from clients.insight.acting.actuator import Actuator, Agree, Effect
from clients.insight.acting.audit import Audit
from clients.insight.acting.carrying_out import Consent
from clients.insight.acting.verb import propose_and_apply, undo
from fl.errors import ActionError
from fl.network.state_file import network_folder
from fl.settings import load

QUIET = Console(quiet=True)
FLOW = {
    "intent": "create_flow",
    "slots": {"source": "a", "target": "b", "qos": "4 Mbps"},
    "confidence": 0.9,
}


class Controller:
    """Takes whatever it is told, in a list: what is around it is tested, not what it does."""

    seen = "the controller"

    def __init__(self, *, destructive: bool = False) -> None:
        self.destructive, self.done = destructive, list[str]()

    def dry_run_all(self, actions: Sequence[Action]) -> list[Effect]:
        return [self._effect(action.id) for action in actions]

    def apply_all(self, actions: Sequence[Action], *, agree: Agree) -> list[Effect]:
        effects = self.dry_run_all(actions)
        agree(effects)
        self.done += [action.id for action in actions]
        return effects

    def dry_run_undo(self, action_id: str) -> Effect:
        return self._effect(action_id)

    def undo(self, action_id: str, *, agree: Agree) -> Effect:
        agree([self._effect(action_id)])
        self.done.remove(action_id)
        return self._effect(action_id)

    def _effect(self, action_id: str) -> Effect:
        return Effect(
            action=action_id,
            figures=(),
            rules=(),
            removed=(),
            destructive=self.destructive,
            digest=f"{action_id} after {len(self.done)}",
        )


def test_it_does_and_takes_back_what_is_wanted(tmp_path: Path) -> None:
    settings, controller = load([f"var={tmp_path}"]), Controller()
    actuator: Actuator = controller
    consent = Consent(apply=True)
    (action,) = propose_and_apply(settings, FLOW, QUIET, actuator=actuator, consent=consent)
    assert controller.done == [action.id]
    undo(settings, action.id, QUIET, actuator=actuator, consent=consent)
    assert controller.done == []
    last = Audit(network_folder(settings)).lines()[-1]
    assert (last.event, last.kind) == ("undone", "bandwidth_reservation")


def test_what_it_says_takes_away_is_confirmed_for_that_effect_alone(tmp_path: Path) -> None:
    settings, controller = load([f"var={tmp_path}"]), Controller(destructive=True)
    (action,) = propose_and_apply(settings, FLOW, QUIET, actuator=controller)
    assert action.destructive
    consent = Consent(apply=True, confirm=action.id)
    controller.done.append("another's")
    with pytest.raises(ActionError, match="not confirmed"):
        propose_and_apply(settings, FLOW, QUIET, actuator=controller, consent=consent)
    propose_and_apply(settings, FLOW, QUIET, actuator=controller, consent=consent)  # shown just now
    assert controller.done == ["another's", action.id]
