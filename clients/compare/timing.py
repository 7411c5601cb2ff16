"""What the modes take over emulated links: real requests, one at a time, counted on the socket."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from clients.asking.alone import lower_layers
from clients.asking.ask import Answered, Wish
from clients.asking.cloud_link import CloudLink, open_link
from clients.asking.modes import MODES
from clients.asking.site_in_process import SiteInProcess
from clients.compare.judging import JudgedSite
from clients.ledger.entry import Entry
from clients.routing.threshold import LinkState, Usual
from fl.errors import GenerationError
from fl.settings import Settings

if TYPE_CHECKING:
    from clients.edge_model import EdgeModel

SPLIT_LENGTHS = (2, 4, 8, 12)  # new tokens of the requests that the split's line is drawn through
MEASURE_S = 20.0  # for the first measurement of a link


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One request over one link."""

    profile: str
    entry: Entry
    as_judged: bool | None  # split: is its text the cloud's? None where nobody compares


@dataclass(frozen=True, kw_only=True)
class LinkTrial:
    """All timed requests of one seed over one link, and what auto measured of it."""

    profile: str
    state: LinkState
    usual: Usual  # what a request to the cloud took, after them all
    requests: tuple[Timed, ...]
    # tokens that came back one by one -> seconds, the quicker of two requests
    split_lengths: tuple[tuple[int, float], ...]


def try_link(
    settings: Settings,
    profile: str,
    model: "EdgeModel",
    sites: Sequence[JudgedSite],
    *,
    fit_split: bool,
    on_request: Callable[[], None],
) -> LinkTrial:
    """Every mode over this link, `compare.requests` times a site. `settings` are of the seed."""
    settings = replace(settings, mode="auto", link=replace(settings.link, profile=profile))
    lower_layers(settings)  # loaded once, before anything is timed
    kept: list[Entry] = []
    with ExitStack() as closing:
        link = open_link(settings, sites[0].site.id, closing)
        here = SiteInProcess(settings, model, link, keep=kept.append)
        state = _measured(link)
        timed = []
        for judged in sites:
            here.at(judged.site, calibration=judged.calibration)
            for mode in MODES:
                for at in range(_how_many(settings, mode, first=judged is sites[0])):
                    answer = _ask(here, judged, at, mode)
                    same = answer == judged.cloud_answers[at] if mode == "split" else None
                    timed.append(Timed(profile=profile, entry=kept[-1], as_judged=same))
                    on_request()
        lengths: list[tuple[int, float]] = []
        for most_new in SPLIT_LENGTHS if fit_split else ():
            for _ in range(2):
                _ask(here, sites[0], 0, "split", Wish(max_new_tokens=most_new))
                on_request()
            quicker = min(entry.total_seconds for entry in kept[-2:])  # less disturbed
            lengths.append((kept[-1].completion_tokens, quicker))
    return LinkTrial(
        profile=profile,
        state=state,
        usual=link.meter.usual,
        requests=tuple(timed),
        split_lengths=tuple(lengths),
    )


def how_many(settings: Settings, *, fit_split: bool) -> int:
    """Requests of one link and seed."""
    sites = range(settings.compare.timed_sites)
    cells = [_how_many(settings, mode, first=at == 0) for mode in MODES for at in sites]
    return sum(cells) + (2 * len(SPLIT_LENGTHS) if fit_split else 0)


def _how_many(settings: Settings, mode: str, *, first: bool) -> int:
    if mode == "split":
        return settings.compare.split_requests if first else 0
    return settings.compare.requests


def _measured(link: CloudLink) -> LinkState:
    link.meter.look()
    state = link.meter.state(wait_s=MEASURE_S)
    if state is None:
        raise GenerationError(
            "The cloud answered no probe. Start it with ./run.sh serve.", status="UNAVAILABLE"
        )
    return state


def _ask(
    here: SiteInProcess,
    judged: JudgedSite,
    at: int,
    mode: str,
    wish: Wish = Wish(),  # noqa: B008 - frozen
) -> str:
    record = judged.records[at % len(judged.records)]
    for event in here.ask(record.short, mode=mode, card=record.card, wish=wish):
        if isinstance(event, Answered):
            return event.answer
    raise AssertionError("the last event is Answered")
