"""Which sites take part, and where each keeps its own things in the run folder."""

from dataclasses import replace
from pathlib import Path

from fl.demo_world.places import PRIVATE_PLACES
from fl.errors import SettingsError
from fl.settings import Settings, resolve
from fl.site import Site
from fl.tasks import COMPLETE, INTENT, TREND

MOST_DEMO_SITES = len(PRIVATE_PLACES) - 1  # the last place joins late in the study


def federated_sites(settings: Settings) -> tuple[Site, ...]:
    """The sites of the configuration: a count of demo places, or the listed ones.

    Raises SettingsError for a malformed list; every mistake is named.
    """
    wanted = settings.sites
    if isinstance(wanted, int) and not isinstance(wanted, bool):
        if not 1 <= wanted <= MOST_DEMO_SITES:
            raise SettingsError(
                f"sites is a count of demo sites from 1 to {MOST_DEMO_SITES}, or a list of "
                f"{{id, place, book}}; found {wanted}."
            )
        return _ranked(tuple(demo_site(place) for place in PRIVATE_PLACES[:wanted]), settings)
    if not isinstance(wanted, list) or not wanted:
        raise SettingsError(f"sites is a count or a list of {{id, place, book}}; found {wanted!r}.")
    sites = tuple(_listed(entry, number) for number, entry in enumerate(wanted, start=1))
    ids = [site.id for site in sites]
    if doubled := sorted({i for i in ids if ids.count(i) > 1}):
        raise SettingsError(f"sites names {doubled[0]!r} twice; every site needs its own id.")
    return _ranked(sites, settings)


def ranks_may_differ(settings: Settings) -> bool:
    """Whether some site may train another rank than learning.rank, as far as settings tell."""
    capped = settings.site.memory_mb > 0 or settings.site.rank not in (0, settings.learning.rank)
    return capped or any(
        site.memory_mb > 0 or site.rank != settings.learning.rank
        for site in federated_sites(settings)
    )


def hosted_site(settings: Settings) -> Site:
    """The site this host is for; raise SettingsError when the configuration does not say."""
    sites = {site.id: site for site in federated_sites(settings)}
    if settings.site.id in sites:
        return sites[settings.site.id]
    raise SettingsError(
        f"site.id must be one of {', '.join(sites)}, found {settings.site.id!r}. "
        "Set it in the site's YAML (configs/sites holds an example) or as site.id=NAME."
    )


def late_site() -> Site:
    """The demo site that joins after the last round."""
    return demo_site(PRIVATE_PLACES[-1])


def demo_site(place: str) -> Site:
    """The site of a demo place; its id is the place's name in small letters with dashes."""
    return Site(id=place.lower().replace(" ", "-"), place=place)


def site_folder(settings: Settings, site_id: str) -> Path:
    """A site's own folder: book.jsonl, place.json, shelf/. Only the site reads it."""
    return settings.run_dir / "sites" / site_id


def task_folder(settings: Settings, site_id: str) -> Path:
    """Where a site keeps book.jsonl and shelf/ of `settings.task`; the by-products' are inside."""
    folder = site_folder(settings, site_id)
    return folder if settings.task == COMPLETE else folder / settings.task


def book_path(settings: Settings, site: Site) -> Path:
    """Where a site's book of `settings.task` is: its own file, or the demo book in its folder."""
    own = {COMPLETE: site.book, INTENT: site.intents, TREND: site.trends}[settings.task]
    return own or task_folder(settings, site.id) / "book.jsonl"


def _listed(entry: object, number: int) -> Site:
    keys, more, books = {"id", "place", "book"}, {"rank", "memory_mb"}, {"intents", "trends"}
    if not isinstance(entry, dict) or not keys <= set(entry) <= keys | more | books:
        raise SettingsError(
            f"sites, entry {number}: expected the keys id, place and book, and perhaps rank, "
            "memory_mb, intents or trends."
        )
    others = {key: resolve(str(entry[key])) for key in books if key in entry}
    numbers = {key: entry.get(key, 0) for key in more}
    for key, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise SettingsError(f"sites, entry {number}: {key} is a whole number, found {value!r}.")
    return Site(
        id=str(entry["id"]),
        place=str(entry["place"]),
        book=resolve(str(entry["book"])),
        intents=others.get("intents"),
        trends=others.get("trends"),
        rank=numbers["rank"],
        memory_mb=numbers["memory_mb"],
    )


def _ranked(sites: tuple[Site, ...], settings: Settings) -> tuple[Site, ...]:
    """The sites with the rank each trains: its own, by learning.ranks, or 0 where memory decides.

    What `site` says is of the site of this host, site.id.
    """
    learning, host = settings.learning, settings.site
    ranked = []
    for place, site in enumerate(sites):
        rank, memory_mb = site.rank, site.memory_mb
        if site.id == host.id:
            rank, memory_mb = host.rank or rank, host.memory_mb or memory_mb
        if not rank and not memory_mb:
            rank = learning.ranks[place % len(learning.ranks)] if learning.ranks else learning.rank
        if rank > learning.rank:
            raise SettingsError(
                f"Site {site.id}: its rank {rank} is above learning.rank {learning.rank}, the "
                "largest in the federation. Raise that one, or lower the site's."
            )
        ranked.append(replace(site, rank=rank, memory_mb=memory_mb))
    return tuple(ranked)
