"""The verbs `profile list | show | set | export | erase`: what a site knows of a person.

They work on the site's disk, whether its edge service runs or not: it reads a profile at each
request. In `profile set` name=value is a fact, so settings go behind --setting there.
"""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clients.atomic import publish_text
from clients.profiles.profile import PersonalProfile, to_object
from clients.profiles.store import ProfileStore, profiles_of
from fl.choices import load_fitting
from fl.errors import ProfileError, SettingsError
from fl.site_list import federated_sites

profile = typer.Typer(
    help="What a site knows of a person: shown, changed, handed out, erased.", no_args_is_help=True
)
Person = Annotated[str, typer.Argument(help="Who: 1 to 40 of a-z, 0-9 and '-'.")]
SiteId = Annotated[str, typer.Option("--site", help="At which site; the first unless said.")]
Words = Annotated[
    list[str] | None,
    typer.Argument(metavar="[KEY=VALUE]...", help="Settings of configs/base.yaml."),
]


@profile.command("list")
def list_verb(words: Words = None, site: SiteId = "") -> None:
    """Who has a profile at a site. Writes nothing."""
    for person in _store(words, site).people():
        print(person)


@profile.command("show")
def show_verb(person: Person, words: Words = None, site: SiteId = "") -> None:
    """A profile: its facts in their order, and the summary of requests. Writes nothing."""
    _show(_store(words, site).read(person))


@profile.command("set")
def set_verb(
    person: Person,
    facts: Annotated[
        list[str],
        typer.Argument(metavar="NAME=TEXT...", help="Facts; an empty text removes one."),
    ],
    site: SiteId = "",
    setting: Annotated[
        list[str] | None, typer.Option(help="A setting as KEY=VALUE; may be repeated.")
    ] = None,
) -> None:
    """Make a profile or change facts of it.

    Writes var/NAME-SEED/sites/SITE/profiles/PERSON.json, for the site's user alone.
    """
    told = dict(fact.split("=", 1) for fact in facts if "=" in fact)
    if len(told) < len(facts):
        raise ProfileError('Expected each fact once as name=text: wish="a window seat"')
    _show(_store(setting, site).set(person, {k: v.strip() for k, v in told.items()}))


@profile.command("export")
def export_verb(
    person: Person,
    words: Words = None,
    site: SiteId = "",
    to: Annotated[Path | None, typer.Option(help="A file, instead of the terminal.")] = None,
) -> None:
    """All that the site holds of a person, as JSON.

    A file is the person's own from then on: `profile erase` does not know of it.
    """
    held = to_object(_store(words, site).read(person))
    text = json.dumps(held, ensure_ascii=False, indent=2) + "\n"
    if to is None:
        print(text, end="")
    else:
        publish_text(to, text)
        print(f"  {to}")


@profile.command("erase")
def erase_verb(person: Person, words: Words = None, site: SiteId = "") -> None:
    """Remove all that the site holds of a person; there is no way back."""
    _store(words, site).erase(person)
    print("  erased: the next request shows no trace of it")


def _store(words: list[str] | None, site: str) -> ProfileStore:
    settings = load_fitting(words or [])
    sites = [one.id for one in federated_sites(settings)]
    if site and site not in sites:
        raise SettingsError(f"There is no site {site!r}. The sites are: {', '.join(sites)}.")
    return profiles_of(settings, site or sites[0])


def _show(shown: PersonalProfile) -> None:
    console, history = Console(), shown.history
    lines = [(name, text) for name, text in shown.facts.items()]
    lines.append(("last", history.last or "-"))
    lines.append(("asked for", ", ".join(f"{k} {n}" for k, n in history.counts.items()) or "-"))
    lines.append(("since", shown.since))
    for name, text in lines:
        console.print(Text(f"  {name:<10} {text}"), soft_wrap=True)
