"""What a cache keeps, what it lets go, and whom it forgets; eviction by hand."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.asking.ask import Wish
from clients.asking.enrichment import Enriched
from clients.insight.acting.cache import Cache, EnrichedKey, answer_key
from clients.insight.acting.counting import Counting
from clients.insight.acting.eviction import ByForecast, Eviction, Lfu, Lru
from clients.insight.acting.persistence import Persistence
from clients.insight.forecast import Forecast
from fl.generation import Reply
from fl.settings import load

CACHE = replace(load([]).cache, entries=2, bytes=10_000)
REPLY = Reply(
    text="fine",
    finish_reason="stop",
    prompt_tokens=1,
    completion_tokens=1,
    queue_seconds=0.0,
    prefill_seconds=0.0,
    decode_seconds=0.0,
    model_fingerprint="",
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def enriched(text: str = "a cafe near the quay") -> Enriched:
    return Enriched(text=text, new_tokens=4, seconds=0.1, fell_back=False)


def key(cache: Cache, short: str, *, card: str = "card", in_use: object = "1") -> EnrichedKey:
    return cache.enriched_key(in_use, card, short, 40)


def test_a_hit_is_exact() -> None:
    cache = Cache(CACHE, Persistence(), clock=Clock())
    cache.keep(key(cache, "coffee"), enriched())
    assert cache.enriched(key(cache, "coffee")) == enriched()
    assert cache.enriched(key(cache, "coffee", card="card of Ada")) is None
    assert cache.enriched(key(cache, "coffee?")) is None
    assert (cache.counts.hits, cache.counts.misses) == (1, 2)


def test_a_swap_empties_it_and_what_was_being_written_does_not_come_in() -> None:
    cache = Cache(CACHE, Persistence(), clock=Clock())
    before = key(cache, "coffee", in_use="1")
    cache.keep(before, enriched())
    assert cache.enriched(key(cache, "coffee", in_use="2")) is None
    cache.keep(before, enriched())
    assert (len(cache), cache.bytes) == (0, 0)


def test_an_answer_is_kept_for_what_is_not_left_to_chance_and_not_for_ever() -> None:
    clock = Clock()
    cache = Cache(CACHE, Persistence(), clock=clock)
    assert answer_key("a cafe", Wish(temperature=0.7)) is None
    kept = answer_key("a cafe", Wish(deadline_s=2.0))
    assert kept is not None
    cache.keep(kept, REPLY)
    same = answer_key("a cafe", Wish(deadline_s=9.0, seed=3))
    assert same is not None
    assert cache.answer(same) == REPLY
    clock.now = CACHE.answer_s + 1
    assert cache.answer(same) is None
    assert len(cache) == 0


def test_who_is_erased_has_nothing_left() -> None:
    cache = Cache(CACHE, Persistence(), clock=Clock())
    cache.keep(key(cache, "hers"), enriched(), person=("ada", "monday"))
    cache.keep(key(cache, "nobody's"), enriched())
    cache.keep_people([("ada", "tuesday")])  # another profile of the same name
    assert cache.people == set()
    assert len(cache) == 1


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 60)), max_size=40))
def test_its_bounds_hold(asked: list[tuple[str, int]]) -> None:
    for policy in ("lru", "lfu", "forecast"):
        cache = Cache(replace(CACHE, policy=policy, bytes=80, entries=3), Persistence())
        for short, size in asked:
            at = key(cache, short, card="")
            if cache.enriched(at) is None:
                cache.keep(at, enriched("x" * size))
            assert len(cache) <= 3
            assert cache.bytes <= 80


@pytest.mark.parametrize(
    ("eviction", "victim"),
    [
        (Lru(), "b"),  # asked a b a c: b longest ago
        (Lfu(), "b"),
        (ByForecast(lambda: {}), "b"),
        (ByForecast(lambda: {"hot": 90.0, "cold": 1.0}), "c"),
    ],
)
def test_who_goes_first(eviction: Eviction, victim: str) -> None:
    for one, kind in (("a", "hot"), ("b", "hot"), ("a", "hot"), ("c", "cold")):
        eviction.asked(one, kind)
    assert eviction.victim() == victim


def test_counts_are_of_whole_intervals_and_a_silent_one_counts() -> None:
    seen: list[tuple[list[float], datetime]] = []

    class Watching(Persistence):
        def __call__(self, history: Sequence[float], at: datetime) -> Forecast:
            seen.append((list(history), at))
            return super().__call__(history, at)

    counting = Counting(Watching(), interval_s=10)
    for now in (1, 2, 9):
        assert not counting.asked(now, "bakery")
    assert counting.asked(31, "bakery")  # two intervals without any
    assert seen[0][0] == [3.0, 0.0, 0.0]
    assert seen[0][1].timestamp() == 20
    assert counting.expected["bakery"].count == 0.0
