"""What the words of a verb are: settings, its own NAME=VALUE words, and texts."""

from collections.abc import Sequence
from dataclasses import fields

from fl.choices import load_fitting
from fl.errors import SettingsError
from fl.settings import Settings
from fl.site import Site
from fl.site_list import federated_sites


def at_site(arguments: Sequence[str] | None, site: str) -> tuple[list[str], Settings, Site]:
    """(words that are no settings, the settings, the site; the first where none is named).

    Raises SettingsError for settings that cannot work, and for a site that there is not.
    """
    said, words = named_word(arguments, "site")
    site = site or said
    settings = load_fitting([word for word in words if is_setting(word)])
    sites = {s.id: s for s in federated_sites(settings)}
    if site and site not in sites:
        raise SettingsError(f"There is no site {site!r}. The sites are: {', '.join(sites)}.")
    chosen = sites[site] if site else next(iter(sites.values()))
    return [word for word in words if not is_setting(word)], settings, chosen


def named_word(arguments: Sequence[str] | None, name: str) -> tuple[str, list[str]]:
    """(the value of NAME=VALUE, "" where it is not there; the other words).

    Raises SettingsError where it is given twice.
    """
    words = list(arguments or [])
    found = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    if len(found) > 1:
        raise SettingsError(f"{name}= is given {len(found)} times. Give it once.")
    rest = [word for word in words if not word.startswith(f"{name}=")]
    return (found[0] if found else ""), rest


def is_setting(word: str) -> bool:
    """key=value without a blank, or with one in the value of a key that there is; else a text."""
    key, sign, value = word.partition("=")
    known = key == "config" or key.split(".")[0] in {field.name for field in fields(Settings)}
    return bool(sign) and " " not in key and (known or " " not in value)
