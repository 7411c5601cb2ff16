"""A site's cache as its requests use it, and how it forgets people."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from clients.asking.ask import Wish
from clients.asking.enrichment import Enriched
from clients.insight.acting.cache import ANY_KIND, Cache, EnrichedKey, answer_key
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
        """Drop answers that are too old, and what was written from profiles that are no longer as
        they were; it reads those it needs.
        """
        there = []
        for person in self.cache.people:
            with suppress(ProfileError, OSError):  # whoever cannot be read has nothing kept
                there.append((person, self._store.read(person).version))
        self.cache.sweep(there)


class Keeping:
    """The caches of one service, by site: what they count, and that they forget."""

    def __init__(self, caches: Mapping[str, SiteCache], *, every_s: float) -> None:
        self._caches, self._every_s = caches, every_s

    def run(self, stop: threading.Event) -> None:
        """Sweep every so often; the outermost loop of its thread. Profiles of this site may be
        changed or erased by another process.
        """
        while self._caches and not stop.wait(self._every_s):
            for cache in self._caches.values():
                cache.sweep()

    def changed(self, site_id: str) -> None:
        """Somebody's profile at a site has just been changed or erased."""
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
            "cache_bytes": lambda: sum(one.held_bytes for one in its),
        }


class RequestCache:
    """What one request finds and leaves behind. See KeptAnswers of asking/modes.py."""

    def __init__(self, cache: Cache, visit: Visit, *, answers: bool) -> None:
        self._cache, self._visit, self._answers = cache, visit, answers
        self._kind = ANY_KIND
        self._counted = False
        self._key: EnrichedKey | None = None  # of what is being written

    def enriched(self, in_use: str, card: str, short: str, most: int) -> Enriched | None:
        """The very enriched prompt, if it is kept; `in_use` is the digest of who writes it."""
        self._key = self._cache.enriched_key(in_use, card, short, most)
        found = self._cache.enriched(self._key)
        if found is not None:
            self._is_of(self._visit.kind(found.text))
        return found

    def keep_enriched(self, enriched: Enriched) -> None:
        """What `enriched` did not find was written just now."""
        assert self._key is not None
        self._is_of(self._visit.kind(enriched.text))
        self._cache.keep(self._key, enriched, kind=self._kind, person=self._visit.owner)

    def find(self, disclosed: str, wish: Wish) -> Reply | None:
        """The very answer to it, if it is kept."""
        key = answer_key(disclosed, wish) if self._answers else None
        if key and not self._counted:  # mode=cloud enriches nothing, so nobody knows its kind
            self._is_of(ANY_KIND)
        return self._cache.answer(key) if key else None

    def keep(self, disclosed: str, wish: Wish, reply: Reply) -> None:
        """A whole answer came."""
        key = answer_key(disclosed, wish) if self._answers else None
        if key:
            self._cache.keep(key, reply, kind=self._kind, person=self._visit.owner)

    def _is_of(self, kind: str) -> None:
        self._kind, self._counted = kind, True
        self._cache.count(kind)
