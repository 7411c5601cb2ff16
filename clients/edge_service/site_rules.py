"""The rules that an edge service obeys: those set on its own host, and those its cloud tells.

The cloud's word only ever keeps more at the site: it can deny the cloud, make edge the mode, or
bound how long a request may take. Whatever opens a site to the cloud is set on the site's own host.
"""

from collections.abc import Callable
from threading import Lock

from fl.network.rules import Rule, Rules


class SiteRules:
    """Of all sites of one service. For any thread."""

    def __init__(self, own: Callable[[], Rules]) -> None:
        """`own` looks up the rules that were set on this host."""
        self._own, self._lock = own, Lock()
        self._heard: dict[str, Rules] = {}

    def hear(self, site_id: str, rules: Rules) -> None:
        """The cloud's newest word about a site, which replaces the one before."""
        own = self._own()  # a cloud of this host tells its own back, which are taken back there
        obeyed = tuple(
            rule
            for rule in rules.rules
            if rule.site == site_id and _keeps(rule) and rule != own.of(rule.kind, site_id)
        )
        with self._lock:
            self._heard[site_id] = Rules(rules=obeyed)

    def __call__(self) -> Rules:
        """This host's own, and the cloud's of the kinds that a site has no own one of."""
        rules = self._own()
        with self._lock:
            heard = [rule for its in self._heard.values() for rule in its.rules]
        for rule in heard:
            if rules.of(rule.kind, rule.site) is None:
                rules = rules.with_rule(rule)
        return rules


def _keeps(rule: Rule) -> bool:
    return rule.kind in ("deny", "deadline") or (rule.kind, rule.word) == ("mode", "edge")
