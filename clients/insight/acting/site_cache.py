"""A site's cache as its requests use it, and how it forgets people."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from clients.asking.ask import Wish
from clients.asking.enrichment import Enriched
from clients.insight.acting.cache import Cache, answer_key
from clients.insight.forecast import Forecaster
from clients.profiles.store import ProfileStore
from clients.profiles.visit import Visit
from fl.errors import ProfileError
from fl.generation import Reply
from fl.settings import Settings


class SiteCache:
    """Of one site. For any thread."""

    def __init__(self, settings: Settings, forecaster: Forecaster, store: ProfileStore) -> None:
        """`settings.cache.entries` is above 0."""
        self.cache, self._store = Cache(settings.cache, forecaster), store
        self._answers = settings.cache.answer_s > 0

    def request(self, visit: Visit) -> "RequestCache":
        """The cache for one request."""
        return RequestCache(self.cache, visit, answers=self._answers)

    def sweep(self) -> None:
        """Drop what was written from profiles that are there no longer; it reads those it needs."""
        there = []
        for person in self.cache.people:
            with suppress(ProfileError, OSError):  # whoever cannot be read has nothing kept
                there.append((person, self._store.read(person).since))
        self.cache.keep_people(there)


class Keeping:
    """The caches of one service, by site: what they count, and that they forget."""

    def __init__(self, caches: Mapping[str, SiteCache], *, every_s: float) -> None:
        self._caches, self._every_s = caches, every_s

    def run(self, stop: threading.Event) -> None:
        """Sweep every so often; the outermost loop of its thread. Profiles of this site may be
        erased by another process.
        """
        while self._caches and not stop.wait(self._every_s):
            for cache in self._caches.values():
                cache.sweep()

    def erased(self, site_id: str) -> None:
        """Somebody's profile at a site has just been erased."""
        if site_id in self._caches:
            self._caches[site_id].sweep()

    def figures(self) -> dict[str, Callable[[], float]]:
        """For metrics: of all sites together."""
        its = [one.cache for one in self._caches.values()]
        return {
            "cache_hits": lambda: sum(one.counts.hits for one in its),
            "cache_misses": lambda: sum(one.counts.misses for one in its),
            "cache_evicted": lambda: sum(one.counts.evicted for one in its),
            "cache_entries": lambda: sum(len(one) for one in its),
            "cache_bytes": lambda: sum(one.bytes for one in its),
        }


class RequestCache:
    """What one request finds and leaves behind. See KeptAnswers of asking/modes.py."""

    def __init__(self, cache: Cache, visit: Visit, *, answers: bool) -> None:
        self._cache, self._visit, self._answers = cache, visit, answers
        self._kind = ""

    def enriched(self, in_use: object, card: str, short: str, most: int) -> Enriched | None:
        """The very enriched prompt, if it is kept."""
        found = self._cache.enriched(self._cache.enriched_key(in_use, card, short, most))
        if found is not None:
            self._is_of(found.text)
        return found

    def keep_enriched(
        self, in_use: object, card: str, short: str, most: int, enriched: Enriched
    ) -> None:
        """It was written just now."""
        self._is_of(enriched.text)
        key = self._cache.enriched_key(in_use, card, short, most)
        self._cache.keep(key, enriched, kind=self._kind, person=self._visit.owner)

    def find(self, disclosed: str, wish: Wish) -> Reply | None:
        """The very answer to it, if it is kept."""
        key = answer_key(disclosed, wish) if self._answers else None
        return self._cache.answer(key) if key else None

    def keep(self, disclosed: str, wish: Wish, reply: Reply) -> None:
        """A whole answer came."""
        key = answer_key(disclosed, wish) if self._answers else None
        if key:
            self._cache.keep(key, reply, kind=self._kind, person=self._visit.owner)

    def _is_of(self, enriched: str) -> None:
        self._kind = self._visit.kind(enriched)
        self._cache.count(self._kind)
