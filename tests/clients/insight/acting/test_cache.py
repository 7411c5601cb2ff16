"""What a cache keeps, what it lets go, and whom it forgets; eviction by hand."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.asking.ask import Wish
from clients.asking.enrichment import Enriched
from clients.insight.acting.auto_regression import LAGS, AutoRegression
from clients.insight.acting.cache import Cache, EnrichedKey, answer_key
from clients.insight.acting.cache_replay import persistence, replay
from clients.insight.acting.cache_trace import Topic, Trace
from clients.insight.acting.counting import Counting
from clients.insight.acting.persistence import Persistence
from clients.insight.acting.site_cache import SiteCache
from clients.insight.forecast import Forecast
from clients.profiles.store import ProfileStore, profiles_of
from clients.profiles.visit import Visit
from fl.generation import Reply
from fl.settings import load
from fl.settings_acting import POLICIES

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


def key(cache: Cache, short: str, *, card: str = "card", in_use: str = "1") -> EnrichedKey:
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
    assert (len(cache), cache.held_bytes) == (0, 0)


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
    cache.sweep([("ada", "tuesday")])  # another profile of the same name
    assert cache.people == set()
    assert len(cache) == 1


def test_an_answer_that_is_too_old_goes_though_nobody_asks_for_it() -> None:
    clock = Clock()
    cache = Cache(CACHE, Persistence(), clock=clock)
    kept = answer_key("a cafe", Wish())
    assert kept is not None
    cache.keep(kept, REPLY)
    cache.keep(key(cache, "coffee"), enriched())
    clock.now = CACHE.answer_s
    cache.sweep([])
    assert len(cache) == 2
    clock.now += 1
    cache.sweep([])
    assert (len(cache), cache.held_bytes) == (1, len(enriched().text))


def test_no_text_of_a_key_is_held() -> None:
    cache = Cache(CACHE, Persistence())
    cache.keep(key(cache, "my lilac chair", card="card of Ada"), enriched(), person=("ada", "1"))
    cache.enriched(key(cache, "my lilac chair", card="card of Ada"))
    [place] = vars(cache)["_entries"]
    assert vars(cache)["_eviction"].victim() == place
    assert isinstance(place, bytes)


def site_cache(tmp_path: Path, *more: str) -> tuple[SiteCache, ProfileStore]:
    settings = load([f"var={tmp_path}", "cache.entries=8", *more])
    store = profiles_of(settings, "elm")
    return SiteCache(settings, Persistence(), store), store


def test_a_changed_fact_leaves_nothing_that_was_written_from_it(tmp_path: Path) -> None:
    its, store = site_cache(tmp_path)
    profile = store.set("ada", {"wish": "a lilac chair", "diet": "vegan"})
    settings = load([f"var={tmp_path}"])
    request = its.request(Visit(settings, store, profile))
    assert request.enriched("001/1", "card", "a chair", 40) is None
    request.keep_enriched(enriched("a lilac chair"))
    request.keep("a lilac chair", Wish(), REPLY)
    store.add_to_history(profile, "cafe")  # a request changes no fact
    its.sweep()
    assert len(its.cache) == 2
    store.set("ada", {"wish": ""})
    its.sweep()
    assert len(its.cache) == 0


def test_a_prompt_of_before_a_swap_does_not_empty_the_cache_of_after_it(tmp_path: Path) -> None:
    its, _ = site_cache(tmp_path)
    visit = Visit(load([f"var={tmp_path}"]))
    old, new = its.request(visit), its.request(visit)
    assert old.enriched("001/1", "card", "coffee", 40) is None
    assert new.enriched("001/2", "card", "coffee", 40) is None
    new.keep_enriched(enriched("new"))
    old.keep_enriched(enriched("old"))
    again = its.request(visit).enriched("001/2", "card", "coffee", 40)
    assert again == enriched("new")


def test_requests_that_enrich_nothing_are_counted_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    its, _ = site_cache(tmp_path)
    visit = Visit(load([f"var={tmp_path}"]))
    counted: list[str] = []
    monkeypatch.setattr(its.cache, "count", counted.append)
    cloud = its.request(visit)
    assert cloud.find("coffee", Wish()) is None
    cloud.keep("coffee", Wish(), REPLY)
    synergy = its.request(visit)
    synergy.enriched("001/1", "card", "coffee", 40)
    synergy.keep_enriched(enriched())
    synergy.find("a cafe", Wish())
    assert counted == ["", ""]


def test_it_is_the_policy_of_the_replay(tmp_path: Path) -> None:
    """The same requests, hour by hour, hit as often as `insight cache` says they do."""
    rng = random.Random(3)
    counts = {"bakery": [6, 1, 8, 2] * 8, "pool": [1, 7, 2, 5] * 8}
    hours = []
    for hour in range(32):
        asked = [
            (kind, min(rng.randrange(9), rng.randrange(9)))
            for kind, its in counts.items()
            for _ in range(its[hour])
        ]
        rng.shuffle(asked)
        hours.append(tuple(asked))
    trace = Trace(hours=tuple(hours), sizes={item: 1 for one in hours for item in one})
    model = AutoRegression([[1.0] * LAGS], [1.0])
    topics = [
        Topic(name=kind, counts=tuple(map(float, its)), model=model) for kind, its in counts.items()
    ]
    for policy in POLICIES:
        clock = Clock()
        settings = replace(CACHE, policy=policy, entries=5, interval_s=3600)
        cache = Cache(settings, Persistence(), clock=clock)
        hits = 0
        for hour, now in enumerate(hours):
            clock.now = 3600.0 * hour
            for kind, rank in now:
                at = key(cache, f"{kind} {rank}")
                found = cache.enriched(at)
                cache.count(kind)
                hits += found is not None and hour >= LAGS
                if found is None:
                    cache.keep(at, enriched(), kind=kind)
        assert hits == replay(trace, 5, policy, expected=persistence(topics)).hits
        assert 0 < hits < sum(map(len, hours[LAGS:]))


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 60)), max_size=40))
def test_its_bounds_hold(asked: list[tuple[str, int]]) -> None:
    for policy in POLICIES:
        cache = Cache(replace(CACHE, policy=policy, bytes=80, entries=3), Persistence())
        for short, size in asked:
            at = key(cache, short, card="")
            if cache.enriched(at) is None:
                cache.keep(at, enriched("x" * size))
            assert len(cache) <= 3
            assert cache.held_bytes <= 80


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
