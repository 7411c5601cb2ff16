"""An actuator over this deployment's own parts: admission, links, modes.

It sets the rules that the cloud's book and the edge services read (fl/network). What an action
would change is worked out by the same admission that decides about requests.
"""

import fcntl
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf, isinf
from pathlib import Path

from clients.insight.acting.actions import Action, Target
from clients.insight.acting.actuator import Effect, Figure
from fl.errors import ActionError
from fl.link.speed import LinkSpeed
from fl.network.rules import LEAST_LEFT, Rule, Rules, carved, own_link, worker_share
from fl.network.state_file import NetworkState, publish_state, read_state
from fl.orchestration.admission import Admission, Wanted
from fl.orchestration.batch_server import Pace

CLOUD = "cloud"
MOST_COUNTED = 500  # requests at once


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """What there is: sites and their cells, links, workers, and a usual request."""

    cell_of: Mapping[str, str]  # site -> cell
    links: Mapping[str, LinkSpeed]  # by cell
    workers: Mapping[str, Pace]
    admission: str
    slack: float
    deadline_s: float  # of a request where nobody says; 0 = none
    mode: str
    tokens: float  # of a usual answer
    bytes_up: float
    bytes_down: float
    names: Mapping[str, str]  # what requests call sites and the cloud -> what they are here


class Simulator:
    """See the Actuator. `folder` is where the rules lie."""

    def __init__(self, folder: Path, deployment: Deployment) -> None:
        self._folder, self._its = folder, deployment

    def dry_run(self, action: Action) -> Effect:
        return self._effect(action, read_state(self._folder).now)[0]

    def apply(self, action: Action) -> Effect:
        with self._alone():
            state = read_state(self._folder)
            effect, after = self._effect(action, state.now)
            publish_state(self._folder, state.after(action.id, after))
        return effect

    def undo(self, action_id: str) -> Effect:
        with self._alone():
            state = read_state(self._folder)
            after: NetworkState = state.undone(action_id)
            publish_state(self._folder, after)
        changed = set(state.now.rules) ^ set(after.now.rules)
        sites = sorted({rule.site for rule in changed})
        return Effect(
            action=action_id,
            figures=self._figures(sites, state.now, after.now),
            rules=tuple(rule for rule in after.now.rules if rule in changed),
        )

    def dry_run_all(self, actions: Sequence[Action]) -> list[Effect]:
        """Each beside those before it."""
        rules, effects = read_state(self._folder).now, list[Effect]()
        for action in actions:
            effect, rules = self._effect(action, rules)
            effects.append(effect)
        return effects

    def _effect(self, action: Action, before: Rules) -> tuple[Effect, Rules]:
        sites = [self._site(target) for target in action.target]
        if len(set(sites)) < len(sites):
            raise ActionError("A slice has each site once; this one names a site twice.")
        after = _CHANGES[action.kind](self, action, sites, before)
        rules = tuple(rule for rule in after.rules if rule.action == action.id)
        figures = self._figures(sites, before, after)
        return Effect(action=action.id, figures=figures, rules=rules), after

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
            link, members = self._its.links[cell], self._members(cell)
            kept = sum(rules.number("at_least", site) for site in members)
            most = 8 * min(link.up_bytes_s, link.down_bytes_s) * (1 - LEAST_LEFT)
            if kept > most:
                raise ActionError(
                    f"{_mbit(kept / 8)} Mbit/s of the link of cell {cell} would be kept for some "
                    f"sites; at most {_mbit(most / 8)} can be. Ask for less, or take another "
                    "reservation back first."
                )
        return rules

    # What they change.

    def _figures(self, sites: Sequence[str], before: Rules, after: Rules) -> tuple[Figure, ...]:
        others = [self._neighbour(sites)] if sites else []
        asked: list[tuple[str, Callable[[Rules, str], str]]] = [
            ("link up Mbit/s", lambda rules, site: _mbit(self._link(rules, site).up_bytes_s)),
            ("link down Mbit/s", lambda rules, site: _mbit(self._link(rules, site).down_bytes_s)),
            ("share of workers it can count on", lambda r, site: f"{worker_share(r, site):.2f}"),
            ("deadline s", lambda rules, site: f"{self._deadline(rules, site):g}"),
            ("mode", self._mode),
            ("usual request in the cloud s", lambda r, site: self._admitted(r, site)[0]),
            ("admitted at once within it", lambda r, site: self._admitted(r, site)[1]),
        ]
        return tuple(
            Figure(what=f"{site}: {what}", before=figure(before, site), after=figure(after, site))
            for site in [*sites, *(other for other in others if other)]
            for what, figure in asked
            if site in sites or figure(before, site) != figure(after, site)
        )

    def _link(self, rules: Rules, site: str) -> LinkSpeed:
        cell = self._its.cell_of[site]
        its = carved(rules, cell, self._its.links[cell], self._members(cell))
        return its[own_link(rules, cell, site)]

    def _deadline(self, rules: Rules, site: str) -> float:
        return rules.number("deadline", site) or self._its.deadline_s

    def _mode(self, rules: Rules, site: str) -> str:
        if rules.number("deny", site):
            return "edge"
        return rules.word("mode", site) or self._its.mode

    def _admitted(self, rules: Rules, site: str) -> tuple[str, str]:
        """Seconds of a usual request, and how many come in when all ask at once."""
        its, deadline_s = self._its, self._deadline(rules, site)
        admission = Admission(its.admission, slack=its.slack)
        for name, pace in its.workers.items():
            admission.worker(name, pace)
        admission.link(site, self._link(rules, site))

        def wanted(number: int) -> Wanted:
            return Wanted(
                request_id=str(number),
                link=site,
                deadline_s=deadline_s,
                bytes_up=its.bytes_up,
                bytes_down=its.bytes_down,
                tokens=its.tokens,
                ready_s=0.0,
                own_s=inf,
                share=worker_share(rules, site),
            )

        alone = min(admission.expect(0.0, wanted(0), name).total for name in its.workers)
        if not deadline_s:
            return f"{alone:.3f}", "all: no deadline"
        admitted = 0
        while admitted < MOST_COUNTED:
            if admission.admit(0.0, wanted(admitted)).place != "cloud":
                return f"{alone:.3f}", str(admitted)
            admitted += 1
        return f"{alone:.3f}", f"{MOST_COUNTED} or more"

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
        folded = " ".join(name.lower().split())
        found = CLOUD if folded == "any" else self._its.names.get(folded, folded)
        if found != CLOUD and found not in self._its.cell_of:
            known = ", ".join((CLOUD, *self._its.cell_of))
            raise ActionError(
                f"The request names a host that this deployment has not. It has {known}; "
                "acting.names says what requests call them, as in ['core switch=cloud']."
            )
        return found

    def _members(self, cell: str) -> list[str]:
        return [site for site, its in self._its.cell_of.items() if its == cell]

    def _neighbour(self, sites: Sequence[str]) -> str:
        """Another site, of the same cell where there is one: whom it costs something."""
        cells = {self._its.cell_of[site] for site in sites}
        others = [site for site in self._its.cell_of if site not in sites]
        near = [site for site in others if self._its.cell_of[site] in cells]
        return next(iter(near or others), "")

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


def _mbit(bytes_s: float) -> str:
    return "no bound" if isinf(bytes_s) else f"{bytes_s / 125_000:.3g}"


_CHANGES: dict[str, Callable[[Simulator, Action, Sequence[str], Rules], Rules]] = {
    "bandwidth_reservation": Simulator._reservation,
    "slice": Simulator._slice,
    "qos_class": Simulator._qos,
    "route_preference": Simulator._route,
    "filter": Simulator._filter,
}
