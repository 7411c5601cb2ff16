"""A fluid of requests against hand-computed times, and its promises against what it then does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.orchestration.batch_server import BatchServer, Pace

PACE = Pace(step_s=0.01, row_s=0.005, rows=2)  # alone 15 ms a token, two together 20 ms


def test_alone_it_takes_its_tokens_times_a_step_of_one() -> None:
    assert BatchServer(PACE).expect(0.0, 10) == pytest.approx(0.15)


def test_two_slow_each_other_down_only_while_both_are_there() -> None:
    server = BatchServer(PACE)
    server.put(0.0, "first", 10)
    # 4 tokens together at 20 ms.
    assert server.expect(0.0, 4) == pytest.approx(0.08)
    # 10 together at 20 ms, then 10 alone at 15 ms.
    assert server.expect(0.0, 20) == pytest.approx(0.35)
    # The first one: 4 together, then 6 alone.
    assert server.foresee(0.0, "new", 4, comes_at=0.0) == {
        "new": pytest.approx(0.08),
        "first": pytest.approx(0.08 + 0.09),
    }


def test_a_third_waits_for_a_row() -> None:
    server = BatchServer(PACE)
    server.put(0.0, "short", 5)
    server.put(0.0, "long", 15)
    # The short one is through after 5 x 20 ms; then 10 tokens beside the long one's other 10.
    assert server.expect(0.0, 10) == pytest.approx(0.10 + 0.20)
    # The long one shares its steps with either, so it loses by one who waits, too.
    assert server.foresee(0.0, "new", 10, comes_at=0.0) == {
        "short": pytest.approx(0.10),
        "new": pytest.approx(0.30),
        "long": pytest.approx(0.30),
    }
    server.put(0.0, "third", 10)
    assert server.waiting == 1
    when, job = server.next_through() or (0.0, "")
    assert (when, job) == (pytest.approx(0.10), "short")
    server.remove(when, job)
    assert server.waiting == 0
    assert len(server) == 2


def test_who_is_coming_keeps_a_place_and_writes_nothing() -> None:
    server = BatchServer(PACE)
    server.put(0.0, "coming", 10, comes_at=0.2)
    server.put(0.0, "here", 10)
    server.remove(0.15, "here")  # it was alone: 10 x 15 ms
    server.begin(0.15, "coming")
    assert server.next_through() == (pytest.approx(0.30), "coming")


def test_who_is_through_keeps_its_row_until_it_is_taken_out() -> None:
    server = BatchServer(Pace(step_s=0.01, row_s=0.005, rows=1))
    server.put(0.0, "slow", 1)
    assert server.expect(10.0, 1) == pytest.approx(0.015)  # due, so the next one may begin now
    server.put(10.0, "next", 1)
    assert server.waiting == 1


def test_a_clock_that_has_run_for_years_does_not_stop_it() -> None:
    server = BatchServer(Pace(step_s=0.002, row_s=0.0003, rows=16))
    server.put(1e8 + 0.1, "coming", 53.99999, comes_at=1e8 + 0.123456789)
    foreseen = server.foresee(1e8 + 0.2, "new", 41.23456, comes_at=1e8 + 0.21)
    assert foreseen.keys() == {"coming", "new"}


@given(
    rows=st.integers(1, 4),
    tokens=st.lists(st.integers(1, 40), min_size=1, max_size=12),
    last=st.integers(1, 40),
)
def test_what_is_expected_happens_when_nobody_else_comes(
    rows: int, tokens: list[int], last: int
) -> None:
    server = BatchServer(Pace(step_s=0.01, row_s=0.003, rows=rows))
    for number, amount in enumerate(tokens):
        server.put(0.0, str(number), amount)
    expected = server.expect(0.0, last)
    foreseen = server.foresee(0.0, "last", last, comes_at=0.0)
    server.put(0.0, "last", last)
    through = {}
    while (found := server.next_through()) is not None:
        when, job = found
        through[job] = when
        server.remove(when, job)
    assert through["last"] == pytest.approx(expected)
    assert len(through) == len(tokens) + 1
    assert foreseen == {job: pytest.approx(when) for job, when in through.items()}


def test_what_is_foreseen_knows_when_others_come() -> None:
    server = BatchServer(PACE)  # 10 ms a step and 5 ms a row
    server.put(0.0, "here", 10)
    server.put(0.0, "coming", 10, comes_at=0.075)
    # "here" writes 5 tokens alone by 0.075, then both at 20 ms: through at 0.175; the other has 5
    # left and is alone until the new one comes at 0.205, with 3 left: 0.265; it has 7 left then.
    assert server.foresee(0.0, "new", 10, comes_at=0.205) == {
        "here": pytest.approx(0.175),
        "coming": pytest.approx(0.265),
        "new": pytest.approx(0.265 + 7 * 0.015),
    }
    # Who should have come by now is taken to come now.
    assert server.foresee(1.0, "new", 1, comes_at=9.0)["coming"] == pytest.approx(1.15)
