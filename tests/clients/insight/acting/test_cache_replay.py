"""Replays by hand, and what must hold of every trace: nobody beats Belady."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clients.insight.acting.auto_regression import LAGS, AutoRegression
from clients.insight.acting.cache_replay import (
    Replayed,
    belady,
    flat,
    oracle,
    persistence,
    regression,
    replay,
)
from clients.insight.acting.cache_trace import Item, Topic, Trace
from fl.settings_acting import POLICIES


def trace(*asked: str) -> Trace:
    """A letter is an item of the topic it belongs to: capitals are of one, the others of another.

    It stands after the hours that only warm up.
    """
    items: list[Item] = [("big" if one.isupper() else "small", ord(one)) for one in asked]
    hours = (*[()] * LAGS, tuple(items))
    return Trace(hours=hours, sizes=dict.fromkeys(items, 10))


def test_by_hand() -> None:
    its = trace(*"abcabcab")
    # two places: LRU never has what comes next; Belady keeps a and b and lets c pass by
    assert replay(its, 2, "lru").hits == 0
    assert belady(its, 2) == Replayed(requests=8, hits=4, bytes_missed=40)
    assert replay(its, 3, "lru") == Replayed(requests=8, hits=5, bytes_missed=30)


def test_the_warm_up_is_not_counted_and_prefetched_items_are() -> None:
    a: Item = ("small", 1)
    b: Item = ("small", 2)
    hours = (*[(a, b, b)] * LAGS, (a,), (b,))
    its = Trace(hours=hours, sizes={a: 10, b: 10})
    nothing = [{"small": 0.0}] * len(hours)
    found = replay(its, 1, "lru", expected=nothing, prefetch=True)
    assert found == Replayed(requests=2, hits=0, bytes_missed=20)  # a 4th of one place is none
    b_next = [{"small": 0.0}] * (len(hours) - 1) + [{"small": 2.0}]
    four = Trace(hours=(*hours[:LAGS], (), (b,)), sizes={a: 10, b: 10})
    assert replay(four, 4, "lru", expected=b_next, prefetch=True).prefetched == 0  # it is held


def test_nothing_is_fetched_in_place_of_what_is_expected_as_often() -> None:
    a: Item = ("small", 1)
    big: list[Item] = [("big", rank) for rank in range(4)]
    # four places: the big ones are held, a has gone
    hours = ((a, a, *big), *[()] * (LAGS - 1), (a,))
    its = Trace(hours=hours, sizes=dict.fromkeys((a, *big), 10))
    for each, prefetched in ((2.0, 0), (1.0, 1)):
        expected = [*[{}] * LAGS, {"small": 2.0, "big": 4 * each}]
        found = replay(its, 4, "lru", expected=expected, prefetch=True)
        assert (found.prefetched, found.hits) == (prefetched, prefetched)


@settings(max_examples=60)
@given(st.lists(st.sampled_from("abcdABCD"), min_size=1, max_size=60), st.integers(1, 5))
def test_nobody_beats_belady(asked: list[str], size: int) -> None:
    its = trace(*asked)
    best = belady(its, size).hits
    expected = [{"big": 9.0, "small": 1.0}] * len(its.hours)
    for policy in POLICIES:
        found = replay(its, size, policy, expected=expected)
        assert found.requests == len(asked)
        assert found.hits <= best


def test_a_forecast_knows_the_hours_before_alone() -> None:
    counts = tuple(float(hour) for hour in range(LAGS + 2))
    flat_model = AutoRegression([[5.0] * LAGS], [5.0])
    topics = [Topic(name="up", counts=counts, model=flat_model)]
    for forecast in (persistence(topics), regression(topics)):
        assert forecast[0] == {}  # warming up too
        assert [one["up"] for one in forecast[1:LAGS]] == [*counts[: LAGS - 1]]
    assert persistence(topics)[LAGS] == {"up": LAGS - 1}
    assert regression(topics)[LAGS] == {"up": 5.0}
    assert oracle(topics)[LAGS] == {"up": LAGS}
    assert flat(topics, 40.0)[LAGS] == {"up": 40.0}


def test_what_was_always_the_same_is_forecast_to_stay_so() -> None:
    for value in (0.0, 0.1):
        its = AutoRegression([[value] * LAGS] * 3, [value] * 3)
        assert its([value] * LAGS, datetime(2026, 1, 1, tzinfo=UTC)).value == pytest.approx(value)
        assert its([9.0] * LAGS, datetime(2026, 1, 1, tzinfo=UTC)).value == pytest.approx(value)


def test_a_regression_finds_a_daily_pattern() -> None:
    pattern = [float(10 + 5 * (hour % 24 == 8)) for hour in range(24 * 12)]
    windows = [pattern[at : at + LAGS] for at in range(len(pattern) - LAGS)]
    its = AutoRegression(windows, pattern[LAGS:])
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert its(pattern[: 24 * 3 + 8], at).value == pytest.approx(15, abs=0.5)
    assert its(pattern[: 24 * 3 + 9], at).value == pytest.approx(10, abs=0.5)
