"""What goes first, by hand: asked a b a c, and what a policy remembers of what has gone."""

import pytest

from clients.insight.acting.eviction import ByForecast, Eviction, Lfu, Lru


@pytest.mark.parametrize(
    ("eviction", "victim"),
    [
        (Lru(), "b"),  # longest ago
        (Lfu(), "b"),  # once, as c, and longer ago
        (ByForecast(lambda: {}), "b"),
        (ByForecast(lambda: {"hot": 90.0, "cold": 1.0}), "c"),  # 1 of 1 of 1; b is 1 of 3 of 90
        (ByForecast(lambda: {"hot": 0.0, "cold": 0.0}), "b"),  # nothing is expected: longest ago
    ],
)
def test_who_goes_first(eviction: Eviction, victim: str) -> None:
    for one, kind in (("a", "hot"), ("b", "hot"), ("a", "hot"), ("c", "cold")):
        eviction.asked(one, kind)
    assert eviction.victim() == victim


@pytest.mark.parametrize(
    ("eviction", "victim"),
    [
        (Lfu(), "a"),  # once since it came back; b twice
        (Lfu(remembers=9), "b"),  # a three times in all
        (ByForecast(lambda: {"": 10.0}), "b"),
    ],
)
def test_who_comes_back_is_remembered_or_begins_anew(eviction: Eviction, victim: str) -> None:
    for one in ("a", "a", "b", "b"):
        eviction.asked(one, "")
    eviction.gone("a")
    eviction.asked("a", "")
    assert eviction.victim() == victim


def test_what_is_fetched_before_it_is_asked_for_was_not_asked_for() -> None:
    lfu = Lfu(remembers=9)
    lfu.asked("a", "")
    lfu.fetched("b", "")
    assert lfu.least()[0] == 0
    assert lfu.victim() == "b"


def test_memory_is_bounded_and_who_is_forgotten_leaves_no_count() -> None:
    lfu = Lfu(remembers=1)
    for one in ("a", "a", "b", "b", "c", "c"):
        lfu.asked(one, "")
    lfu.gone("a")
    lfu.gone("b")  # of what has gone the newest alone is remembered
    lfu.forget("c")
    for one in ("a", "b", "c"):
        lfu.asked(one, "")
    often = []
    for _ in range(3):
        often.append(lfu.least()[0])
        lfu.gone(lfu.victim())
    assert often == [1, 1, 3]
