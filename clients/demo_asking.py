"""The asking corridor shown to a person: card, short and enriched prompt, answer, what left.

Where the site's edge service runs, it is asked; else the site's part happens in this process.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from rich.console import Console
from rich.text import Text

from clients.asking.ask import Answered, Leaving
from clients.asking.cloud_link import open_link
from clients.edge_service.asking_client import living_service
from clients.edge_service.asking_codec import Ended
from clients.workflow.workflow_file import workflow_of
from fl.generation import TextPiece
from fl.settings import Settings
from fl.site import Site

if TYPE_CHECKING:  # torch is loaded only where no edge service runs
    from clients.asking.site_in_process import SiteInProcess

DEMO_PROMPTS = ("need a coffee, the usual", "send a box asap", "see a nurse w kids")

Event = Leaving | TextPiece | Answered | Ended


class Asker(Protocol):
    """A site that can be asked."""

    def ask(
        self, short: str, *, mode: str, person: str, deadline_s: float | None
    ) -> Iterator[Event]:
        """Leaving, pieces, and an end; raises GenerationError where site or cloud fail."""


def ask_and_show(
    settings: Settings,
    prompts: Sequence[str],
    sites: Sequence[Site],
    console: Console,
    *,
    person: str = "",
) -> None:
    """Ask every prompt at every site and print what happened. Raises the first failure.

    `person` is whose profile goes with it; "" is nobody's. Raises WorkflowError, before anything
    else happens, for a workflow that is not executed.
    """
    workflow_of(settings)
    with ExitStack() as closing:
        alone: SiteInProcess | None = None
        for site in sites:
            asker: Asker
            if client := living_service(settings, site.id):
                asker = closing.enter_context(client)
                if settings.link.profile != "none":
                    console.print(
                        f"  {site.id}'s edge service answers, over its own link: it was not "
                        f"started with link.profile={settings.link.profile} by this command.",
                        highlight=False,
                    )
            else:
                if alone is None:
                    with console.status("getting ready: libraries and the edge model"):
                        alone = _in_process(settings, sites[0].id, closing)
                with console.status(f"getting ready: {site.id}"):
                    asker = alone.at(site)
            console.print(Text(f"\n  at {site.place}", style="bold"))
            for number, short in enumerate(prompts):
                events = asker.ask(
                    short,
                    mode=settings.mode,
                    person=person,
                    deadline_s=settings.orchestration.deadline_s or None,
                )
                _show(console, events, with_card=number == 0)


def _in_process(settings: Settings, site_id: str, closing: ExitStack) -> "SiteInProcess":
    from clients.asking.site_in_process import SiteInProcess
    from clients.edge_model import edge_model

    return SiteInProcess(settings, edge_model(settings), open_link(settings, site_id, closing))


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
    if mode == "edge" and not leaving.disclosed.text:
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
        what = "the short prompt itself, for there was no enriched one"
    if mode == "edge":
        what += "; in vain, so the site answered by itself"
    return (
        f"{leaving.disclosed.characters} characters of {what} "
        f"({end.bytes_up} bytes up, {end.bytes_down} down). {end.seconds:.2f} s"
    )


def _before_it_leaves(console: Console, leaving: Leaving, *, with_card: bool) -> None:
    """What the site wrote, and, where disclosure changed it, what is about to leave."""
    if with_card and leaving.card:
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
