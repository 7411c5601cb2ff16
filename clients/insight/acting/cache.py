"""Enriched prompts and answers that an edge service keeps, in the memory of its process alone.

A hit is exact. An enriched prompt is kept under all that it was written from: what was in use, the
rendered card with what it tells of who asks, the short prompt, and how long it might be. An answer
is kept under what was disclosed and all of the wish, only where that leaves nothing to chance, and
only for as long as cache.answer_s: the cloud may have another release meanwhile. Of all these texts
a digest stands here, with a secret of this cache; eviction, which remembers how often was asked for
what has gone, knows no more.

Nothing outlives what it came from: a swap empties the enriched prompts, and what was written from a
profile that has since been changed or erased goes a moment later (`sweep`), as answers do that are
too old.
"""

import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import astuple, dataclass, field, replace
from hashlib import blake2b
from threading import Lock
from typing import cast

from clients.asking.ask import Wish
from clients.asking.enrichment import Enriched
from clients.insight.acting.counting import Counting
from clients.insight.acting.eviction import eviction_of
from clients.insight.forecast import Forecaster
from fl.generation import Reply
from fl.settings import CacheSettings

ANY_KIND = ""  # of a request that names no kind of venue


@dataclass(frozen=True)
class EnrichedKey:
    """What an enriched prompt was written from. Texts stay out of its repr."""

    in_use: str  # digest of the joined adapter
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
    person: tuple[str, str] | None = field(repr=False)  # name, and the profile's version
    size: int  # bytes of its text
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
        self._eviction = eviction_of(settings.policy, self._expected)
        self._secret = secrets.token_bytes(32)
        self._entries: dict[bytes, _Entry] = {}  # by digests of keys
        self._bytes = 0
        self._in_use = ""
        self.counts = Counts()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def held_bytes(self) -> int:
        """Of all texts."""
        return self._bytes

    def enriched_key(self, in_use: str, card: str, short: str, most: int) -> EnrichedKey:
        """Where such an enriched prompt is kept; another `in_use` than before drops them all."""
        with self._lock:
            if in_use != self._in_use:
                self._in_use = in_use
                self._forget_where(lambda entry: isinstance(entry.value, Enriched))
            return EnrichedKey(in_use, most, card, short)

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
        size, place = len(value.text.encode()), self._place(key)
        if size > self._settings.bytes:
            return
        with self._lock:
            if isinstance(key, EnrichedKey) and key.in_use != self._in_use:
                return  # there was a swap while it was written
            self._drop(place)
            while self._entries and (
                len(self._entries) >= self._settings.entries
                or self._bytes + size > self._settings.bytes
            ):
                self._drop(cast(bytes, self._eviction.victim()))
                self.counts.evicted += 1
            self._entries[place] = _Entry(value, person, size, self._clock(), kind)
            self._bytes += size
            self._eviction.asked(place, kind)

    def sweep(self, there: Collection[tuple[str, str]]) -> None:
        """Drop answers that are too old, and what was written from other profiles than these (name,
        version).
        """
        with self._lock:
            for place in [one for one, entry in self._entries.items() if self._is_old(entry)]:
                self._drop(place)
            self._forget_where(lambda one: one.person is not None and one.person not in there)

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
        place = self._place(key)
        with self._lock:
            entry = self._entries.get(place)
            if entry is not None and self._is_old(entry):
                self._drop(place)
                entry = None
            if entry is None:
                self.counts.misses += 1
                return None
            self.counts.hits += 1
            self._eviction.asked(place, entry.kind)
            return entry.value

    def _expected(self) -> Mapping[str, float]:
        return {kind: one.count for kind, one in self._counting.expected.items()}

    def _place(self, key: EnrichedKey | AnswerKey) -> bytes:
        told = repr((type(key).__name__, astuple(key))).encode()
        return blake2b(told, key=self._secret, digest_size=32).digest()

    def _is_old(self, entry: _Entry) -> bool:
        is_answer = isinstance(entry.value, Reply)
        return is_answer and self._clock() - entry.at > self._settings.answer_s

    def _drop(self, place: bytes) -> None:
        if (entry := self._entries.pop(place, None)) is not None:
            self._bytes -= entry.size
            self._eviction.gone(place)

    def _forget_where(self, wanted: Callable[[_Entry], bool]) -> None:
        """These come back no more, so nobody counts on from what they were asked for."""
        for place in [place for place, entry in self._entries.items() if wanted(entry)]:
            self._bytes -= self._entries.pop(place).size
            self._eviction.forget(place)


def answer_key(disclosed: str, wish: Wish) -> AnswerKey | None:
    """Where an answer is kept; None for one that is left to chance."""
    if wish.temperature != 0:
        return None
    return AnswerKey(disclosed, replace(wish, deadline_s=None, seed=None, top_p=1.0))
