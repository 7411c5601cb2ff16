"""The asking corridor shown to a person: card, short and enriched prompt, answer, what left.

Where the site's edge service runs, it is asked; else the site's part happens in this process.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.text import Text

from clients.adapter_shelf import newest_shelf
from clients.asking.alone import alone
from clients.asking.ask import Answered, Leaving
from clients.asking.cloud_channel import CloudChannel, service_address
from clients.asking.modes import Asked, answer_by
from clients.edge_service.asking_client import living_service
from clients.edge_service.asking_codec import Ended
from clients.ledger.account import account
from clients.ledger.journal import ledger_file, record
from clients.personal_part import in_use
from clients.place_card import card_text, read_facts
from fl.errors import FederationError
from fl.generation import TextPiece
from fl.link.profiles import profile
from fl.link.relay import Relay
from fl.release import AdapterRelease
from fl.settings import Settings, resolve
from fl.site import Site
from fl.site_list import site_folder

if TYPE_CHECKING:  # torch is loaded only where no edge service runs
    from clients.edge_model import EdgeModel

DEMO_PROMPTS = ("need a coffee, the usual", "send a box asap", "see a nurse w kids")

Event = Leaving | TextPiece | Answered | Ended


class Asker(Protocol):
    """A site that can be asked."""

    def ask(self, short: str, *, mode: str) -> Iterator[Event]:
        """Leaving, pieces, and an end; raises GenerationError where site or cloud fail."""


def ask_and_show(
    settings: Settings, prompts: Sequence[str], sites: Sequence[Site], console: Console
) -> None:
    """Ask every prompt at every site and print what happened. Raises the first failure."""
    with ExitStack() as closing:
        alone: SiteInProcess | None = None
        for site in sites:
            asker: Asker
            if client := living_service(settings, site.id):
                asker = closing.enter_context(client)
            else:
                if alone is None:
                    with console.status("getting ready: libraries and the edge model"):
                        alone = SiteInProcess(settings, closing)
                asker = alone.at(site)
            console.print(Text(f"\n  at {site.place}", style="bold"))
            for number, short in enumerate(prompts):
                _show(console, asker.ask(short, mode=settings.mode), with_card=number == 0)


class SiteInProcess:
    """A site's part of the corridor in this process, one site after the other."""

    def __init__(self, settings: Settings, closing: ExitStack) -> None:
        """Load the edge model and find the cloud; `closing` closes the connection."""
        from clients.edge_model import edge_model

        self._settings = settings
        self._model = edge_model(settings)
        address, keys = service_address(settings), None
        if settings.site.keys:  # a site on its own host
            address, keys = settings.site.cloud, resolve(settings.site.keys)
        self._relay: Relay | None = None
        if keys is None:  # on this machine; from elsewhere a relay would need the cloud's own name
            link = Relay(address, profile(settings.link.profile), seed=settings.seed)
            self._relay = closing.enter_context(link)
        via = self._relay.address if self._relay else ""
        self._channel = closing.enter_context(
            CloudChannel(address, settings.asking.timeout_s, keys=keys, via=via)
        )
        self._site: Site | None = None

    def at(self, site: Site) -> "SiteInProcess":
        """The same, now at this site. Raises FederationError before its first release."""
        self._release = load_site_adapter(self._model, self._settings, site)
        self._site = site
        return self

    def ask(self, short: str, *, mode: str) -> Iterator[Event]:
        """Ask at the site it is at."""
        settings, site = self._settings, self._site
        assert site is not None
        started, began = perf_counter(), process_time()
        before = self._relay.crossed if self._relay else None
        first = 0.0
        for event in answer_by(
            Asked(
                short=short,
                mode=mode,
                here=alone(self._model, settings, self._card),
                channel=self._channel,
                settings=settings,
                site_id=site.id,
                started=started,
            )
        ):
            if isinstance(event, TextPiece):
                first = first or perf_counter() - started
            elif isinstance(event, Answered):
                crossed = self._relay.crossed.since(before) if self._relay and before else None
                entry = account(
                    event,
                    site_id=site.id,
                    wanted=mode,
                    crossed=crossed,
                    first_seconds=first,
                    cpu_seconds=process_time() - began,
                    short_tokens=len(self._model.token_ids(short)),
                    federation=self._release.federation,
                    release=self._release.number,
                )
                record(ledger_file(settings, site.id), entry)
                if event.error is not None:
                    raise event.error
            yield event

    def _card(self) -> str:
        """The card of this moment."""
        settings, site = self._settings, self._site
        assert site is not None
        facts = read_facts(site_folder(settings, site.id) / "place.json", place=site.place)
        return card_text(
            facts,
            budget=settings.asking.card_tokens,
            count_tokens=lambda text: len(self._model.token_ids(text)),
        )


def load_site_adapter(model: "EdgeModel", settings: Settings, site: Site) -> AdapterRelease:
    """Set the release in use and the site's personal part from its shelf into the model.

    Raises FederationError where no release has reached the site yet, ReleaseError for one that the
    cloud has not signed.
    """
    shelf = newest_shelf(settings, site.id)
    release = shelf.current() if shelf else None
    if shelf is None or release is None:
        raise FederationError(
            f"No release has reached site {site.id} yet. Run ./run.sh simulate first."
        )
    model.set_adapter(in_use(shelf, release, settings, site, model.base.layers))
    return release


def _show(console: Console, events: Iterator[Event], *, with_card: bool) -> None:
    leaving: Leaving | None = None
    try:
        for event in events:
            if isinstance(event, TextPiece):
                console.print(Text(event.text), end="", soft_wrap=True)
            elif isinstance(event, Answered | Ended):
                assert leaving is not None
                console.print()
                _line(console, "left", _what_left(leaving, event))
            else:
                leaving = event
                _before_it_leaves(console, event, with_card=with_card)
    except BaseException:
        console.print()  # the error's sentence begins a line
        raise


def _what_left(leaving: Leaving, end: Answered | Ended) -> str:
    mode = end.mode
    if mode == "edge":
        return f"nothing; the site answered by itself. {end.seconds:.2f} s"
    if mode == "split":
        return (
            f"no text; {end.states_bytes} bytes of hidden states ({end.bytes_up} bytes up, "
            f"{end.bytes_down} down). {end.seconds:.2f} s"
        )
    what = "the enriched prompt; not the card, not the short prompt"
    if mode == "cloud":
        what = "the short prompt; not the card"
    elif leaving.enriched.fell_back:
        what = "the short prompt itself, for the edge model wrote nothing"
    return (
        f"{leaving.disclosed.characters} characters of {what} "
        f"({end.bytes_up} bytes up, {end.bytes_down} down). {end.seconds:.2f} s"
    )


def _before_it_leaves(console: Console, leaving: Leaving, *, with_card: bool) -> None:
    """What the site wrote, and, where disclosure changed it, what is about to leave."""
    if with_card:
        _line(console, "card", leaving.card)
    console.print()
    _line(console, "short", leaving.short)
    if leaving.enriched.text != leaving.short:
        _line(console, "enriched", leaving.enriched.text)
    if leaving.disclosed.text not in ("", leaving.enriched.text):
        _line(console, "disclosed", leaving.disclosed.text)
    console.print(Text(f"    {'answer':<10} "), end="")


def _line(console: Console, label: str, text: str) -> None:
    console.print(Text(f"    {label:<10} {text}"), soft_wrap=True)
