"""What rules leave of a link and of the workers, by hand; and the file that holds them."""

from math import inf
from pathlib import Path

import pytest

from fl.errors import ActionError
from fl.link.speed import LinkSpeed
from fl.network.rules import Rule, Rules, carved, own_link, worker_share
from fl.network.state_file import FILE, NetworkRules, NetworkState, publish_state, read_state

LINK = LinkSpeed(rtt_s=0.1, up_bytes_s=1000, down_bytes_s=2000)
KEPT = Rules(rules=(Rule(kind="at_least", site="a", value=3200.0, action="x"),))  # 400 bytes/s


def test_what_is_kept_for_one_is_not_the_others() -> None:
    links = carved(KEPT, "cell", LINK, ["a", "b"])
    assert (links["cell"].up_bytes_s, links["cell"].down_bytes_s) == (600, 1600)
    assert (links["cell/a"].up_bytes_s, links["cell/a"].down_bytes_s) == (400, 400)
    assert (own_link(KEPT, "cell", "a"), own_link(KEPT, "cell", "b")) == ("cell/a", "cell")


def test_a_bound_from_above_takes_from_the_site_alone() -> None:
    rules = Rules(rules=(Rule(kind="at_most", site="a", value=800.0),))
    links = carved(rules, "cell", LINK, ["a", "b"])
    assert (links["cell"].up_bytes_s, links["cell/a"].up_bytes_s) == (1000, 100)


def test_an_unbounded_link_stays_one_and_something_is_always_left() -> None:
    unbounded = LinkSpeed(rtt_s=0.0, up_bytes_s=inf, down_bytes_s=inf)
    assert carved(KEPT, "cell", unbounded, ["a"])["cell/a"].up_bytes_s == inf
    slow = LinkSpeed(rtt_s=0.0, up_bytes_s=100, down_bytes_s=100)
    assert carved(KEPT, "cell", slow, ["a"])["cell"].up_bytes_s == 5


def test_a_share_is_kept_from_the_others() -> None:
    rules = Rules(rules=(Rule(kind="share", site="a", value=0.4),))
    assert worker_share(rules, "a") == 1.0
    assert worker_share(rules, "b") == pytest.approx(0.6)


def test_rules_survive_the_disk_and_only_the_newest_action_is_undone(tmp_path: Path) -> None:
    first = NetworkState().after("x", KEPT)
    second = first.after("y", KEPT.with_rule(Rule(kind="mode", site="a", value=0, word="edge")))
    publish_state(tmp_path, second)
    assert read_state(tmp_path) == second
    with pytest.raises(ActionError, match="newest"):
        second.undone("x")
    assert second.undone("y").undone("x") == NetworkState()


def test_a_reader_follows_the_file_and_a_damaged_one_changes_nothing(tmp_path: Path) -> None:
    rules = NetworkRules(tmp_path)
    assert rules() == Rules()
    publish_state(tmp_path, NetworkState(now=KEPT))
    assert rules() == KEPT
    (tmp_path / FILE).write_text('{"rules": 7')
    assert rules() == KEPT
    (tmp_path / FILE).unlink()
    assert rules() == Rules()
