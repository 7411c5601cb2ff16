"""The asking corridor shown to a person: card, short and enriched prompt, answer, what left."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from clients.adapter_shelf import newest_shelf
from clients.asking.ask import Answered, ask
from clients.asking.cloud_channel import CloudChannel
from clients.asking.disclosure import Disclosed
from clients.asking.enrichment import Enriched
from clients.edge_model import EdgeModel, edge_model
from clients.place_card import card_text, read_facts
from fl.adapter import initial_adapter
from fl.errors import FederationError
from fl.settings import Settings
from fl.sharing import join, part_spec
from fl.site import Site
from fl.site_list import site_folder

DEMO_PROMPTS = ("need a coffee, the usual", "send a box asap", "see a nurse w kids")


def ask_and_show(
    settings: Settings,
    prompts: Sequence[str],
    sites: Sequence[Site],
    channel: CloudChannel,
    console: Console,
) -> None:
    """Ask every prompt at every site and print what happened. Raises the first cloud failure."""
    model = edge_model(settings)
    for site in sites:
        load_site_adapter(model, settings, site)
        facts = read_facts(site_folder(settings, site.id) / "place.json", place=site.place)
        card = card_text(
            facts,
            budget=settings.asking.card_tokens,
            count_tokens=lambda text: len(model.token_ids(text)),
        )
        console.print(Text(f"\n  at {site.place}", style="bold"))
        _line(console, "card", card)
        for short in prompts:
            console.print()
            _line(console, "short", short)
            answered = ask(
                short,
                card=card,
                model=model,
                channel=channel,
                settings=settings,
                site_id=site.id,
                on_disclosed=lambda enriched, disclosed: _before_it_leaves(
                    console, enriched, disclosed
                ),
                on_piece=lambda piece: console.print(Text(piece), end="", soft_wrap=True),
            )
            console.print()
            if answered.error is not None:
                raise answered.error
            _line(
                console,
                "left",
                f"{answered.disclosed.characters} characters of {_what_left(answered)} "
                f"({answered.bytes_up} bytes up, {answered.bytes_down} down). "
                f"{answered.seconds:.2f} s",
            )


def load_site_adapter(model: EdgeModel, settings: Settings, site: Site) -> None:
    """Set the newest release and the site's personal part from its shelf into the model.

    Raises FederationError where no release has reached the site yet.
    """
    shelf = newest_shelf(settings, site.id)
    kept = shelf.release() if shelf else None
    if shelf is None or kept is None:
        raise FederationError(
            f"No release has reached site {site.id} yet. Run ./run.sh simulate first."
        )
    _, release = kept
    if settings.personal == "none":
        model.set_adapter(release)
        return
    spec = part_spec(release.spec, settings.learning.personal_rank)
    personal = shelf.personal() or initial_adapter(spec, model.base.layers, seed=settings.seed)
    model.set_adapter(join(release, personal))


def _what_left(answered: Answered) -> str:
    if answered.enriched.fell_back:
        return "the short prompt itself, for the edge model wrote nothing"
    return "the enriched prompt; not the card, not the short prompt"


def _before_it_leaves(console: Console, enriched: Enriched, disclosed: Disclosed) -> None:
    """What GPT-2 wrote, and, where disclosure changed it, what is about to leave."""
    _line(console, "enriched", enriched.text)
    if disclosed.text != enriched.text:
        _line(console, "disclosed", disclosed.text)
    console.print(Text(f"    {'answer':<10} "), end="")


def _line(console: Console, label: str, text: str) -> None:
    console.print(Text(f"    {label:<10} {text}"), soft_wrap=True)
