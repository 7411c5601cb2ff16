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


def test_what_is_kept_for_one_is_not_the_others_and_no_bound_for_itself() -> None:
    links = carved(KEPT, "cell", LINK, ["a", "b"])
    assert (links["cell"].up_bytes_s, links["cell"].down_bytes_s) == (600, 1600)
    assert (links["cell/a"].up_bytes_s, links["cell/a"].down_bytes_s) == (1000, 2000)
    assert (own_link(KEPT, "cell", "a"), own_link(KEPT, "cell", "b")) == ("cell/a", "cell")


def test_two_reservations_share_what_neither_has_reserved() -> None:
    rules = KEPT.with_rule(Rule(kind="at_least", site="b", value=5600.0))  # 700 bytes/s
    links = carved(rules, "cell", LINK, ["a", "b", "c"])
    assert links["cell/a"].up_bytes_s == 400  # 1000 - 700 is less than its own
    assert links["cell/a"].down_bytes_s == 1300
    assert links["cell/b"].up_bytes_s == 700
    assert links["cell/b"].down_bytes_s == 1600
    assert (links["cell"].up_bytes_s, links["cell"].down_bytes_s) == (50, 900)


def test_a_bound_from_above_takes_from_the_site_alone() -> None:
    rules = Rules(rules=(Rule(kind="at_most", site="a", value=800.0),))
    links = carved(rules, "cell", LINK, ["a", "b"])
    assert (links["cell"].up_bytes_s, links["cell/a"].up_bytes_s) == (1000, 100)
    both = rules.with_rule(Rule(kind="at_least", site="b", value=7600.0))  # 950 bytes/s
    assert carved(both, "cell", LINK, ["a", "b"])["cell/a"].up_bytes_s == 50


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


def test_a_reader_follows_the_file_and_what_held_holds_while_it_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rules = NetworkRules(tmp_path)
    assert rules() == Rules()
    publish_state(tmp_path, NetworkState(now=KEPT))
    assert rules() == KEPT
    (tmp_path / FILE).write_text('{"rules": 7')
    assert [rules(), rules()] == [KEPT, KEPT]
    assert len(caplog.records) == 1
    (tmp_path / FILE).unlink()
    assert rules() == Rules()


def test_a_file_that_cannot_be_looked_at_is_not_one_without_rules(tmp_path: Path) -> None:
    folder = tmp_path / "network"
    publish_state(folder, NetworkState(now=KEPT))
    rules = NetworkRules(folder)
    folder.rename(tmp_path / "away")
    folder.write_text("no folder")  # looking into it is an OSError, but not "not found"
    assert rules() == KEPT


@pytest.mark.parametrize(
    "spoilt",
    [
        '{"rules": 7',
        '{"past": [], "rules": [{"kind": "mode", "site": "a", "value": 0, "word": "cluod", '
        '"action": ""}]}',
    ],
)
def test_nothing_starts_on_damaged_rules(tmp_path: Path, spoilt: str) -> None:
    (tmp_path / FILE).write_text(spoilt)
    with pytest.raises(ActionError, match="not what this program writes"):
        NetworkRules(tmp_path)
