"""Who is let in, by hand-computed times."""

import math

import pytest

from fl.link.speed import LinkSpeed
from fl.orchestration.admission import POLICIES, Admission, Verdict, Wanted
from fl.orchestration.batch_server import Pace

PACE = Pace(step_s=0.01, row_s=0.01, rows=4)  # 20 ms a token alone, 30 ms each of two
LINK = LinkSpeed(rtt_s=0.1, up_bytes_s=1000, down_bytes_s=2000)


def wanted(name: str = "a", *, deadline_s: float = 1.0, own_s: float = math.inf) -> Wanted:
    return Wanted(
        request_id=name,
        link="cell",
        deadline_s=deadline_s,
        bytes_up=100,  # 0.1 s
        bytes_down=200,  # 0.1 s
        tokens=10,  # 0.2 s alone
        ready_s=0.1,
        own_s=own_s,
    )


def opened(policy: str = "joint", *, slack: float = 0.0) -> Admission:
    admission = Admission(policy, slack=slack)
    admission.worker("w", PACE)
    admission.link("cell", LINK)
    return admission


def test_the_parts_add_up() -> None:
    expected = opened().expect(0.0, wanted(), "w")
    # ready 0.1; up 0.05 + 0.1; cloud 0.2; down 0.05 + 0.1
    assert (expected.ready, expected.up, expected.cloud, expected.down) == (
        pytest.approx(0.1),
        pytest.approx(0.15),
        pytest.approx(0.2),
        pytest.approx(0.15),
    )
    assert expected.total == pytest.approx(0.6)


def test_who_fits_is_promised_a_place() -> None:
    admission = opened()
    assert admission.admit(0.0, wanted(deadline_s=0.61)) == Verdict(
        place="cloud", worker="w", expected_s=pytest.approx(0.6)
    )
    assert admission.workers == {"w": 1}
    admission.end(0.5, "a")
    assert admission.workers == {"w": 0}


def test_who_does_not_fit_stays_at_the_site_or_is_shed_at_once() -> None:
    admission = opened()
    assert admission.admit(0.0, wanted(deadline_s=0.59, own_s=0.3)) == Verdict(
        place="edge", expected_s=0.3, short_of="link"
    )
    assert admission.admit(0.0, wanted(deadline_s=0.59)) == Verdict(place="shed", short_of="link")
    assert admission.workers == {"w": 0}
    assert Admission().admit(0.0, wanted()).place == "shed"  # no worker at all


def test_slack_is_kept_free() -> None:
    assert opened(slack=0.1).admit(0.0, wanted(deadline_s=0.66)).place == "shed"
    assert opened(slack=0.1).admit(0.0, wanted(deadline_s=0.67)).place == "cloud"


def test_nobody_is_let_in_at_the_cost_of_a_promise() -> None:
    admission = opened()
    assert admission.admit(0.0, wanted("first", deadline_s=0.61)).place == "cloud"
    # It has until 0.61 - 0.15 at its worker, and with another one beside it 10 x 30 ms from when
    # it gets there: that is after 0.25 s, so 0.55 s.
    assert admission.admit(0.0, wanted("second", deadline_s=9.0)) == Verdict(
        place="shed", short_of="compute"
    )
    admission.come(0.25, "first", 10)
    assert admission.admit(0.25, wanted("second", deadline_s=9.0)).place == "cloud"  # behind it
    assert opened("network").admit(0.0, wanted("second", deadline_s=9.0)).place == "cloud"


def test_promised_bytes_take_the_link() -> None:
    admission = opened()
    before = admission.expect(0.0, wanted("b"), "w")
    admission.link("cell", LinkSpeed(rtt_s=0.1, up_bytes_s=100, down_bytes_s=2000))
    admission.admit(0.0, wanted("a", deadline_s=99.0))  # 1 s on the line
    after = admission.expect(0.0, wanted("b"), "w")
    # Both leave at 0.1 s: it goes behind the other one, and takes 1 s itself.
    assert before.up == pytest.approx(0.15)
    assert after.up == pytest.approx(0.05 + 1.0 + 1.0)


def test_the_poorer_ways_see_one_half_each() -> None:
    slow = LinkSpeed(rtt_s=0.1, up_bytes_s=10, down_bytes_s=2000)
    for policy, up in (("joint", 10.05), ("network", 10.05), ("compute", 0.15)):
        admission = opened(policy)
        admission.link("cell", slow)  # it was better when it was first seen
        assert admission.expect(0.0, wanted(), "w").up == pytest.approx(up)
    # Behind the other one on the link it comes 0.1 s later, and has 5 of its tokens with it.
    for policy, cloud in (("joint", 0.25), ("network", 0.2), ("compute", 0.3)):
        admission = opened(policy)
        admission.admit(0.0, wanted("other", deadline_s=9.0))
        assert admission.expect(0.0, wanted(), "w").cloud == pytest.approx(cloud)


def test_what_is_not_used_frees_the_link() -> None:
    admission = opened()
    before = admission.expect(0.0, wanted("b"), "w")
    for _ in range(3):
        admission.admit(0.0, wanted("a", deadline_s=9.0))
        admission.end(0.0, "a")
    assert admission.expect(0.0, wanted("b"), "w") == before


def test_everyone_is_placed_alike_whatever_the_policy_sees() -> None:
    for policy in POLICIES:
        admission = opened(policy)
        admission.worker("v", PACE)
        placed = [admission.admit(0.0, wanted(str(n), deadline_s=99.0)).worker for n in range(4)]
        assert placed == ["w", "v", "w", "v"]


def test_without_admission_everybody_is_sent_to_the_quickest() -> None:
    admission = opened("none")
    admission.worker("v", PACE)
    placed = [admission.admit(0.0, wanted(str(n), deadline_s=0.01)).worker for n in range(4)]
    assert placed == ["w", "v", "w", "v"]


def test_a_lost_workers_requests_find_another() -> None:
    admission = opened()
    admission.admit(0.0, wanted())
    assert admission.lose("w") == ["a"]
    assert admission.come(0.1, "a", 10) is None
    admission.worker("v", PACE)
    assert admission.come(0.2, "a", 10) == "v"
    assert admission.workers == {"v": 1}
    assert admission.come(0.2, "unannounced", 10) == "v"


def test_a_round_trip_that_was_just_seen_counts_but_not_for_who_looks_at_first_links() -> None:
    slower = opened()
    slower.round_trip("cell", 0.5)
    assert slower.expect(0.0, wanted(), "w").total == pytest.approx(1.0)  # 0.4 more
    slower.round_trip("unknown", 9.0)  # nothing is known of its bandwidth
    assert slower.admit(0.0, wanted(deadline_s=1.01)).place == "cloud"
    first = opened("compute")
    first.round_trip("cell", 0.5)
    assert first.expect(0.0, wanted(), "w").total == pytest.approx(0.6)
