"""Rules that management has set for sites, as what decides about requests reads them.

at_least  bit/s of its cell's link that admission keeps for the site; it may have more
at_most   bit/s of that link that admission lets the site have
share     share of every worker's time that admission keeps for the site
deadline  seconds its requests have where nobody says
mode      who answers them where nobody says
deny      1: nothing of it is answered by the cloud
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fl.link.speed import LinkSpeed

KINDS = ("at_least", "at_most", "share", "deadline", "mode", "deny")
MODES = ("edge", "cloud", "split", "synergy", "auto")  # words of `mode`
LEAST_LEFT = 0.05  # share of a link, and of the workers, that no rule can take from the others


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One; a site has at most one of a kind."""

    kind: str
    site: str
    value: float  # in the unit of its kind; 0 where that is a word
    word: str = ""  # of `mode`
    action: str = ""  # the id of what set it


@dataclass(frozen=True, kw_only=True)
class Rules:
    """All that hold now."""

    rules: tuple[Rule, ...] = ()

    def of(self, kind: str, site: str) -> Rule | None:
        """The site's rule of a kind."""
        return next((r for r in self.rules if (r.kind, r.site) == (kind, site)), None)

    def number(self, kind: str, site: str) -> float:
        """Its value; 0 where there is none."""
        rule = self.of(kind, site)
        return rule.value if rule else 0.0

    def word(self, kind: str, site: str) -> str:
        """Its word; "" where there is none."""
        rule = self.of(kind, site)
        return rule.word if rule else ""

    def with_rule(self, rule: Rule) -> "Rules":
        """These, with that one in the place of the site's other one of its kind."""
        return Rules(rules=(*self.without(rule.site, (rule.kind,)).rules, rule))

    def without(self, site: str, kinds: Sequence[str]) -> "Rules":
        """These, without the site's of some kinds."""
        kept = tuple(r for r in self.rules if r.site != site or r.kind not in kinds)
        return Rules(rules=kept)

    def shares_of_others(self, site: str) -> float:
        """Share of every worker's time that is kept for other sites."""
        return sum(r.value for r in self.rules if r.kind == "share" and r.site != site)


def own_link(rules: Rules, cell: str, site: str) -> str:
    """The name of the link that admission promises a site's bytes on.

    Its cell's; one of its own where bandwidth of it is kept for the site or held from it.
    """
    bound = rules.of("at_least", site) or rules.of("at_most", site)
    return f"{cell}/{site}" if bound else cell


def carved(
    rules: Rules, cell: str, speed: LinkSpeed, members: Sequence[str]
) -> dict[str, LinkSpeed]:
    """A cell's link as its members may use it, by the names of `own_link`.

    Each may use what is kept for itself and what is kept for nobody, of which LEAST_LEFT of the
    link is always there.
    """
    links = {cell: _for(rules, "", speed, members)}
    for site in members:
        if (own := own_link(rules, cell, site)) != cell:
            links[own] = _for(rules, site, speed, members)
    return links


def _for(rules: Rules, site: str, speed: LinkSpeed, members: Sequence[str]) -> LinkSpeed:
    """The link as one of its members may use it; "" is any that has no rule of its own."""
    others = sum(rules.number("at_least", one) for one in members if one != site) / 8  # bytes/s
    least, most = rules.number("at_least", site) / 8, rules.number("at_most", site) / 8

    def its(bytes_s: float) -> float:
        rest = max(bytes_s - others, LEAST_LEFT * bytes_s)
        mine = max(rest, min(least, bytes_s))
        return min(mine, most) if most else mine

    return replace(speed, up_bytes_s=its(speed.up_bytes_s), down_bytes_s=its(speed.down_bytes_s))


def worker_share(rules: Rules, site: str) -> float:
    """Share of a worker's time that a site's requests may count on."""
    return max(LEAST_LEFT, 1.0 - rules.shares_of_others(site))


def is_rule(rule: Rule) -> bool:
    """Is it a rule at all, as whatever reads it understands it?"""
    word = rule.word in MODES if rule.kind == "mode" else not rule.word
    return rule.kind in KINDS and math.isfinite(rule.value) and rule.value >= 0 and word
