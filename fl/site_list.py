"""Which sites take part, and where each keeps its own things in the run folder."""

from pathlib import Path

from fl.demo_world.places import PRIVATE_PLACES
from fl.errors import SettingsError
from fl.settings import Settings, resolve
from fl.site import Site

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
        return tuple(demo_site(place) for place in PRIVATE_PLACES[:wanted])
    if not isinstance(wanted, list) or not wanted:
        raise SettingsError(f"sites is a count or a list of {{id, place, book}}; found {wanted!r}.")
    sites = tuple(_listed(entry, number) for number, entry in enumerate(wanted, start=1))
    ids = [site.id for site in sites]
    if doubled := sorted({i for i in ids if ids.count(i) > 1}):
        raise SettingsError(f"sites names {doubled[0]!r} twice; every site needs its own id.")
    return sites


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


def _listed(entry: object, number: int) -> Site:
    keys = {"id", "place", "book"}
    if not isinstance(entry, dict) or set(entry) != keys:
        raise SettingsError(f"sites, entry {number}: expected the keys id, place and book.")
    return Site(id=str(entry["id"]), place=str(entry["place"]), book=resolve(str(entry["book"])))
