"""Enriched prompts and answers that an edge service keeps, in the memory of its process alone.

A hit is exact. An enriched prompt is kept under all that it was written from: what was in use (the
joined adapter itself), the rendered card with what it tells of who asks, the short prompt, and how
long it might be. An answer is kept under what was disclosed and all of the wish, only where that
leaves nothing to chance, and only for as long as cache.answer_s: the cloud may have another release
meanwhile.

Nothing outlives what it came from: a swap empties the enriched prompts, and whoever's profile is
erased has no entries a moment later (`keep_people`).
"""

import time
from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass, field, replace
from threading import Lock

from clients.asking.ask import Wish
from clients.asking.enrichment import Enriched
from clients.insight.acting.counting import Counting
from clients.insight.acting.eviction import ByForecast, Eviction, Lfu, Lru
from clients.insight.forecast import Forecaster
from fl.generation import Reply
from fl.settings import CacheSettings

ANY_KIND = ""  # of a request that names no kind of venue


@dataclass(frozen=True)
class EnrichedKey:
    """What an enriched prompt was written from. Texts stay out of its repr."""

    in_use: int  # which joined adapter, by its number in this cache
    most: int  # new tokens
    card: str = field(repr=False)
    short: str = field(repr=False)


@dataclass(frozen=True)
class AnswerKey:
    """What an answer was written from."""

    disclosed: str = field(repr=False)
    wish: Wish = field(repr=False)


@dataclass(frozen=True)
class _Entry:
    value: Enriched | Reply = field(repr=False)
    person: tuple[str, str] | None = field(repr=False)  # name, and since when there is the profile
    size: int  # bytes of its texts
    at: float  # when it came in
    kind: str


@dataclass
class Counts:
    """Since the service began."""

    hits: int = 0
    misses: int = 0
    evicted: int = 0


class Cache:
    """One site's. For any thread."""

    def __init__(
        self,
        settings: CacheSettings,
        forecaster: Forecaster,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`settings.entries` is above 0."""
        self._settings, self._clock, self._lock = settings, clock, Lock()
        self._counting = Counting(forecaster, interval_s=settings.interval_s)
        self._eviction = eviction_of(settings.policy, self._counting)
        self._entries: dict[Hashable, _Entry] = {}
        self._bytes = 0
        self._in_use: object = None
        self._number = 0
        self.counts = Counts()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def bytes(self) -> int:
        """Of all texts."""
        return self._bytes

    def enriched_key(self, in_use: object, card: str, short: str, most: int) -> EnrichedKey:
        """Where such an enriched prompt is kept; another `in_use` than before drops them all."""
        with self._lock:
            if in_use is not self._in_use:
                self._in_use = in_use
                self._number += 1
                for key in [key for key in self._entries if isinstance(key, EnrichedKey)]:
                    self._drop(key)
            return EnrichedKey(self._number, most, card, short)

    def enriched(self, key: EnrichedKey) -> Enriched | None:
        """What is kept; None is a miss."""
        found = self._found(key)
        return found if isinstance(found, Enriched) else None

    def answer(self, key: AnswerKey) -> Reply | None:
        """What is kept; None is a miss."""
        found = self._found(key)
        return found if isinstance(found, Reply) else None

    def keep(
        self,
        key: EnrichedKey | AnswerKey,
        value: Enriched | Reply,
        *,
        kind: str = ANY_KIND,
        person: tuple[str, str] | None = None,
    ) -> None:
        """Keep it, and let others go for it; not where it is larger than the whole cache.

        `person` is whose profile it was written from.
        """
        size = _size(key, value)
        if size > self._settings.bytes:
            return
        with self._lock:
            if isinstance(key, EnrichedKey) and key.in_use != self._number:
                return  # there was a swap while it was written
            self._drop(key)
            while self._entries and (
                len(self._entries) >= self._settings.entries
                or self._bytes + size > self._settings.bytes
            ):
                self._drop(self._eviction.victim())
                self.counts.evicted += 1
            self._entries[key] = _Entry(value, person, size, self._clock(), kind)
            self._bytes += size
            self._eviction.asked(key, kind)

    def keep_people(self, there: Collection[tuple[str, str]]) -> None:
        """Drop what was written from other profiles than these (name, since)."""
        with self._lock:
            for key, entry in list(self._entries.items()):
                if entry.person is not None and entry.person not in there:
                    self._drop(key)

    @property
    def people(self) -> set[str]:
        """Whose entries there are."""
        with self._lock:
            return {one.person[0] for one in self._entries.values() if one.person is not None}

    def count(self, kind: str) -> None:
        """A request of this kind was asked, hit or miss: what forecasts are made from."""
        with self._lock:
            self._counting.asked(self._clock(), kind)

    def _found(self, key: EnrichedKey | AnswerKey) -> Enriched | Reply | None:
        with self._lock:
            entry = self._entries.get(key)
            if isinstance(key, AnswerKey) and entry is not None:
                old = self._clock() - entry.at > self._settings.answer_s
                if old:
                    self._drop(key)
                entry = None if old else entry
            if entry is None:
                self.counts.misses += 1
                return None
            self.counts.hits += 1
            self._eviction.asked(key, entry.kind)
            return entry.value

    def _drop(self, key: Hashable) -> None:
        if (entry := self._entries.pop(key, None)) is not None:
            self._bytes -= entry.size
            self._eviction.gone(key)


def answer_key(disclosed: str, wish: Wish) -> AnswerKey | None:
    """Where an answer is kept; None for one that is left to chance."""
    if wish.temperature != 0:
        return None
    return AnswerKey(disclosed, replace(wish, deadline_s=None, seed=None, top_p=1.0))


def eviction_of(policy: str, counting: Counting) -> Eviction:
    """The policy of this name, as cache.policy has it."""
    if policy == "lru":
        return Lru()
    if policy == "lfu":
        return Lfu()
    return ByForecast(lambda: {kind: one.count for kind, one in counting.expected.items()})


def _size(key: EnrichedKey | AnswerKey, value: Enriched | Reply) -> int:
    texts = [value.text]
    texts += [key.card, key.short] if isinstance(key, EnrichedKey) else [key.disclosed]
    return sum(len(text.encode()) for text in texts)
