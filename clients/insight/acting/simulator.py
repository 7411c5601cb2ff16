"""An actuator over this deployment's own parts: admission, links, modes.

It sets the rules that the cloud's book and the edge services read (fl/network). What an action
would change is worked out by the same admission that decides about requests.
"""

import fcntl
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from clients.insight.acting.actions import Action, Target
from clients.insight.acting.actuator import Agree, Effect
from clients.insight.acting.standing import CLOUD, Deployment, Standings, compared, mbit
from fl.errors import ActionError
from fl.network.rules import LEAST_LEFT, Rule, Rules
from fl.network.state_file import NetworkState, publish_state, read_state


class Simulator:
    """See the Actuator. `folder` is where the rules lie."""

    def __init__(self, folder: Path, deployment: Deployment, *, seen: str = "the settings") -> None:
        self._folder, self._its, self.seen = folder, deployment, seen
        self._standings = Standings(deployment)

    def dry_run_all(self, actions: Sequence[Action]) -> list[Effect]:
        return self._effects(actions, read_state(self._folder))[0]

    def apply_all(self, actions: Sequence[Action], *, agree: Agree) -> list[Effect]:
        with self._alone():
            effects, after = self._effects(actions, read_state(self._folder))
            agree(effects)
            publish_state(self._folder, after)
        return effects

    def dry_run_undo(self, action_id: str) -> Effect:
        return self._undone(action_id)[0]

    def undo(self, action_id: str, *, agree: Agree) -> Effect:
        with self._alone():
            effect, after = self._undone(action_id)
            agree([effect])
            publish_state(self._folder, after)
        return effect

    def _effects(
        self, actions: Sequence[Action], state: NetworkState
    ) -> tuple[list[Effect], NetworkState]:
        """Each beside those before it, and what holds after all."""
        effects = list[Effect]()
        for action in actions:
            sites = [self._site(target) for target in action.target]
            if len(set(sites)) < len(sites):
                raise ActionError("A slice has each site once; this one names a site twice.")
            after = CHANGES[action.kind](self, action, sites, state.now)
            if _meaning(after) == _meaning(state.now):
                raise ActionError(
                    f"Action {action.id} would change nothing: what it asks for holds already. "
                    "Leave it out."
                )
            effects.append(self._effect(action.id, sites, state.now, after))
            state = state.after(action.id, after)
        return effects, state

    def _undone(self, action_id: str) -> tuple[Effect, NetworkState]:
        state = read_state(self._folder)
        after = state.undone(action_id)
        changed = {rule.site for rule in set(state.now.rules) ^ set(after.now.rules)}
        sites = sorted(changed & self._its.cell_of.keys())  # others have left the settings since
        return self._effect(action_id, sites, state.now, after.now), after

    def _effect(self, action_id: str, sites: list[str], before: Rules, after: Rules) -> Effect:
        figures, destructive = compared(self._standings, sites, [*self._its.cell_of], before, after)
        held, holds = set(before.rules), set(after.rules)
        told = [
            sites,
            destructive,
            *([asdict(rule) for rule in rules.rules] for rules in (before, after)),
        ]
        return Effect(
            action=action_id,
            figures=figures,
            rules=tuple(rule for rule in after.rules if rule not in held),
            removed=tuple(rule for rule in before.rules if rule not in holds),
            destructive=destructive,
            digest=hashlib.sha256(json.dumps(told).encode()).hexdigest(),
        )

    # What the kinds of action set.

    def _reservation(self, action: Action, sites: Sequence[str], rules: Rules) -> Rules:
        kind = str(action.parameters["bound"])
        return self._kept(rules, action, {sites[0]: _number(action, "bits_per_s")}, kind)

    def _slice(self, action: Action, sites: Sequence[str], rules: Rules) -> Rules:
        if "bits_per_s" in action.parameters:
            rates = dict(zip(sites, _numbers(action, "bits_per_s"), strict=True))
            return self._kept(rules, action, rates, "at_least")
        if "worker_share" in action.parameters:
            shares = {sites[0]: _number(action, "worker_share")}
        else:  # all of it, but for what is always left
            parts = _numbers(action, "shares")
            shares = {s: p * (1 - LEAST_LEFT) for s, p in zip(sites, parts, strict=True)}
        for site, share in shares.items():
            rules = rules.with_rule(Rule(kind="share", site=site, value=share, action=action.id))
        kept = sum(rule.value for rule in rules.rules if rule.kind == "share")
        if kept > 1 - LEAST_LEFT + 1e-6:
            raise ActionError(
                f"{kept:.0%} of the workers' time would be kept for some sites; at most "
                f"{1 - LEAST_LEFT:.0%} can be. Ask for less, or take another slice back first."
            )
        return rules

    def _qos(self, action: Action, sites: Sequence[str], rules: Rules) -> Rules:
        seconds = _number(action, "deadline_s")
        return rules.with_rule(
            Rule(kind="deadline", site=sites[0], value=seconds, action=action.id)
        )

    def _route(self, action: Action, sites: Sequence[str], rules: Rules) -> Rules:
        if action.parameters.get("withdraw"):
            rules = rules.without(sites[0], ("at_least", "at_most", "share", "deadline"))
        mode = "edge" if action.parameters["prefer"] == "edge" else "synergy"
        return rules.with_rule(
            Rule(kind="mode", site=sites[0], value=0.0, word=mode, action=action.id)
        )

    def _filter(self, action: Action, sites: Sequence[str], rules: Rules) -> Rules:
        if (service := action.parameters["service"]) != "web":
            raise ActionError(
                f"Between a site and the cloud there is one service that can be filtered, answers "
                f'("web"); {service} is not told apart here.'
            )
        if action.parameters["allow"]:
            return rules.without(sites[0], ("deny",))
        return rules.with_rule(Rule(kind="deny", site=sites[0], value=1.0, action=action.id))

    def _kept(self, rules: Rules, action: Action, bits: Mapping[str, float], kind: str) -> Rules:
        """Rates of links; raises ActionError where a link has not that much."""
        for site, rate in bits.items():
            other = "at_most" if kind == "at_least" else "at_least"
            its = rules.number(other, site)
            if its and (rate > its if kind == "at_least" else rate < its):
                raise ActionError(f"Site {site} would be kept more than it may have at most.")
            rules = rules.with_rule(Rule(kind=kind, site=site, value=rate, action=action.id))
        for cell in sorted({self._its.cell_of[site] for site in bits}):
            link, members = self._its.links[cell], self._its.members(cell)
            kept = sum(rules.number("at_least", site) for site in members)
            most = 8 * min(link.up_bytes_s, link.down_bytes_s) * (1 - LEAST_LEFT)
            if kept > most:
                raise ActionError(
                    f"{mbit(kept / 8)} Mbit/s of the link of cell {cell} would be kept for some "
                    f"sites; at most {mbit(most / 8)} can be. Ask for less, or take another "
                    "reservation back first."
                )
        return rules

    # Whom a request means.

    def _site(self, target: Target) -> str:
        """The end that is a site; the other one must be the cloud. Raises ActionError."""
        ends = [self._known(target.source), self._known(target.target)]
        sites = [end for end in ends if end != CLOUD]
        if len(sites) != 1:
            raise ActionError(
                "The links of this deployment are those between a site and the cloud; this request "
                f"is about two {'sites' if sites else 'clouds'}. acting.names says what requests "
                "call them."
            )
        return sites[0]

    def _known(self, name: str) -> str:
        words = name.lower().split()
        folded = " ".join(words)
        clouds = dict.fromkeys(("any", CLOUD, f"the {CLOUD}"), CLOUD)
        found = (clouds | dict(self._its.names)).get(folded, "-".join(words))
        if found != CLOUD and found not in self._its.cell_of:
            known = ", ".join((CLOUD, *self._its.cell_of))
            raise ActionError(
                f"The request names a host that this deployment has not. It has {known}; "
                "acting.names says what requests call them, as in ['core switch=cloud']."
            )
        return found

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "rules.lock", "ab") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)  # ends with the file
            yield


def _number(action: Action, name: str) -> float:
    value = action.parameters[name]
    assert isinstance(value, float), name
    return value


def _numbers(action: Action, name: str) -> tuple[float, ...]:
    value = action.parameters[name]
    assert isinstance(value, tuple), name
    return value


def _meaning(rules: Rules) -> set[Rule]:
    """What holds, whoever set it."""
    return {replace(rule, action="") for rule in rules.rules}


CHANGES: dict[str, Callable[[Simulator, Action, Sequence[str], Rules], Rules]] = {
    "bandwidth_reservation": Simulator._reservation,
    "slice": Simulator._slice,
    "qos_class": Simulator._qos,
    "route_preference": Simulator._route,
    "filter": Simulator._filter,
}
