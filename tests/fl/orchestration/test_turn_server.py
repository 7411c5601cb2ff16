"""Turns by hand: 10 ms a step and 2 ms more a row."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.orchestration.batch_server import Pace
from fl.orchestration.turn_server import TurnServer

PACE = Pace(step_s=0.010, row_s=0.002, rows=2)


def test_one_alone_and_two_who_wait_for_its_end() -> None:
    server = TurnServer(PACE)
    server.put(0.0, "a", 10)
    assert server.ends_at == pytest.approx(0.12)
    server.put(0.05, "b", 10)
    server.put(0.06, "c", 20)
    assert server.turn_over(0.12) == ["a"]
    assert server.ends_at == pytest.approx(0.12 + 20 * 0.010 + 30 * 0.002)
    assert server.turn_over(0.38) == ["b", "c"]
    assert (server.ends_at, len(server)) == (inf, 0)


def test_what_is_expected_is_what_happens() -> None:
    server = TurnServer(PACE)
    assert server.expect(0.0, 10) == pytest.approx(0.12)
    server.put(0.0, "a", 10)
    assert server.expect(0.05, 20) == pytest.approx(0.07 + 0.24)
    server.put(0.05, "b", 10)
    server.put(0.05, "c", 10)  # the second turn is full
    assert server.expect(0.05, 20) == pytest.approx(0.07 + 0.14 + 0.24)


def test_an_own_answer_waits_for_a_turn_of_the_others() -> None:
    server = TurnServer(PACE)
    assert server.expect_both(0.0, 10, 20) == pytest.approx(0.12 + 0.24)
    server.put(0.0, "a", 10)
    assert server.expect_both(0.0, 10, 20) == pytest.approx(0.24 + 0.12 + 0.24)


def test_who_leaves_a_turn_does_not_shorten_it_and_is_not_told() -> None:
    server = TurnServer(PACE)
    server.put(0.0, "a", 10)
    server.put(0.0, "b", 10)
    server.drop("a")
    server.drop("b")
    assert server.ends_at == pytest.approx(0.12)
    assert server.turn_over(0.12) == []
    assert len(server) == 0


def test_a_turn_for_nobody_is_over_when_it_should_be_though_nobody_says_so() -> None:
    server = TurnServer(PACE)
    server.put(0.0, "a", 10)
    server.drop("a")
    assert server.expect(0.1, 10) == pytest.approx(0.02 + 0.12)
    assert server.expect(1.0, 10) == pytest.approx(0.12)


@given(st.lists(st.tuples(st.floats(0.001, 1.0), st.integers(1, 60)), min_size=1, max_size=20))
def test_everyone_is_written_once_and_never_before_he_could_be(
    arrivals: list[tuple[float, int]],
) -> None:
    server, now, came, left = TurnServer(PACE), 0.0, dict[str, float](), dict[str, float]()
    for number, (gap, tokens) in enumerate(arrivals):
        now += gap
        while server.ends_at <= now:
            left.update(dict.fromkeys(server.turn_over(ended := server.ends_at), ended))
        came[str(number)] = now
        server.put(now, str(number), tokens)
    while server.ends_at < inf:
        left.update(dict.fromkeys(server.turn_over(ended := server.ends_at), ended))
    assert left.keys() == came.keys()
    for job, (_, tokens) in zip(came, arrivals, strict=True):
        assert left[job] - came[job] >= tokens * PACE.token_s(1) - 1e-9
