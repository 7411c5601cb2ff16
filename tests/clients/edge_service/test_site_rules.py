"""Whose rules a site obeys: its own host's first, of its cloud's those that keep more there."""

from clients.edge_service.site_rules import SiteRules
from fl.network.rules import Rule, Rules


def rule(kind: str, site: str = "elm", value: float = 0.0, word: str = "") -> Rule:
    return Rule(kind=kind, site=site, value=value, word=word)


def test_the_clouds_word_can_only_keep_more_at_the_site() -> None:
    held = [Rules()]
    rules = SiteRules(lambda: held[0])
    deny, late, edge = rule("deny", value=1), rule("deadline", value=2), rule("mode", word="edge")
    rules.hear("elm", Rules(rules=(deny, late, edge)))
    assert set(rules().rules) == {deny, late, edge}
    rules.hear("elm", Rules(rules=(rule("mode", word="cloud"), rule("mode", "oak", word="edge"))))
    assert rules() == Rules()  # it opens the site; it is about another one; the rest is taken back


def test_this_hosts_own_rule_of_a_kind_goes_first() -> None:
    own = rule("deadline", value=5)
    rules = SiteRules(lambda: Rules(rules=(own,)))
    rules.hear("elm", Rules(rules=(rule("deadline", value=2), rule("deny", value=1))))
    assert rules().number("deadline", "elm") == 5
    assert rules().number("deny", "elm") == 1


def test_a_rule_of_this_host_that_its_cloud_tells_back_is_lifted_at_once() -> None:
    """Cloud and site on one host read one file; the echo must not outlive what it echoes."""
    held = [Rules(rules=(rule("deny", value=1),))]
    rules = SiteRules(lambda: held[0])
    rules.hear("elm", held[0])
    assert rules().number("deny", "elm") == 1
    held[0] = Rules()
    assert rules() == Rules()
