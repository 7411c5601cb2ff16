"""The verb `compare`: every mode over every link on the same held-out requests.

every seed:  judge all answers -> time requests over each link;  then what the modes take at a site
"""

import platform
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from time import monotonic

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.text import Text

from clients.asking.cloud_channel import service_address
from clients.asking.cloud_link import open_link
from clients.compare import resources
from clients.compare.results import Comparison, SeedTrials, as_json
from clients.compare.timing import how_many, try_link
from clients.study.measure import newest_federation
from clients.workflow.steps import MODES
from clients.workflow.workflow_file import workflow_of
from fl import durable
from fl.errors import SettingsError
from fl.link.profiles import profile
from fl.settings import Settings
from fl.site import Site
from fl.site_list import federated_sites

FOLDER, PICTURE = "compare", "compare.png"


def compare(settings: Settings, console: Console) -> None:
    """Measure, and write compare.md, compare.json and compare.png; the service must be running.

    Raises SettingsError for a workflow of fewer modes, FederationError where a seed has no
    federation, BookError where its books have no marks.
    """
    for name in settings.compare.profiles:
        profile(name)
    check_all_modes(settings)
    # One service answers for all seeds; its address lies in the first one's run folder.
    at = replace(settings, service=replace(settings.service, address=service_address(settings)))
    seeds = [replace(at, seed=settings.seed + i) for i in range(settings.seeds)]
    for seed in seeds:
        newest_federation(seed)
    found = _measured(seeds, console)
    out = settings.run_dir / FOLDER
    from clients.compare.figures import picture  # matplotlib takes a second
    from clients.compare.markdown import markdown

    text = f"{markdown(found)}\n{resources.markdown(settings)}"
    durable.publish(out / PICTURE, picture(found))
    durable.publish(out / "compare.json", as_json(found).encode())
    durable.publish(out / "compare.md", f"{text}\n![All modes]({PICTURE})\n".encode())
    console.print(Text(text), soft_wrap=True)
    console.print(f"  {out / 'compare.md'}\n  {out / PICTURE}", soft_wrap=True, highlight=False)


def check_all_modes(settings: Settings) -> None:
    """Raise SettingsError where the workflow does not leave the mode to the request."""
    if workflow_of(settings).modes != MODES:
        raise SettingsError(
            f"compare asks in every mode, and {settings.workflow} fixes the mode of its route "
            "step. Use workflow=configs/workflow.yaml."
        )


def _measured(seeds: list[Settings], console: Console) -> Comparison:
    first = seeds[0]
    sites = federated_sites(first)[: first.compare.sites]
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bar = progress.add_task("libraries and the edge model", total=_all_requests(first))
        from clients.asking.alone import lower_layers
        from clients.compare.footprint import site_costs

        trials = [_seed(s, sites, progress, bar, fit_split=s is first) for s in seeds]
        progress.update(bar, description="memory and files at the site")
        costs = site_costs(first, sites[0])
        lower = lower_layers(first)
    return Comparison(
        seeds=tuple(trials),
        sites=tuple(site.id for site in sites),
        costs=tuple(costs),
        layers_here=lower.layers,
        layers=lower.all_layers,
        width=lower.width,
        numbers=first.split.numbers,
        price=first.routing.price,
        machine=f"{platform.machine()}, {first.threads} threads a process",
    )


def _seed(
    settings: Settings, sites: Sequence[Site], progress: Progress, bar: TaskID, *, fit_split: bool
) -> SeedTrials:
    """One seed: judge at every site, then time over every link."""
    from clients.asking.site_in_process import SiteInProcess
    from clients.compare.judging import judge_site
    from clients.edge_model import edge_model

    began, model = monotonic(), edge_model(settings)
    with ExitStack() as closing:
        plain = replace(settings, link=replace(settings.link, profile="none"))
        link = open_link(plain, sites[0].id, closing)
        here = SiteInProcess(replace(settings, mode="edge"), model, link)
        judged = []
        for site in sites:
            progress.update(bar, description=f"seed {settings.seed}: judging at {site.id}")
            judged.append(judge_site(settings, site, here.at(site), model, link.channel))
            progress.advance(bar)
    trials = []
    for name in settings.compare.profiles:
        progress.update(bar, description=f"seed {settings.seed}: over {name}")
        trials.append(
            try_link(
                settings,
                name,
                model,
                judged[: settings.compare.timed_sites],
                fit_split=fit_split,
                on_request=lambda: progress.advance(bar),
            )
        )
    return SeedTrials(
        seed=settings.seed,
        federation=newest_federation(settings),
        requests=tuple(request for site in judged for request in site.requests),
        trials=tuple(trials),
        seconds=monotonic() - began,
    )


def _all_requests(settings: Settings) -> int:
    """Of all seeds and links, and the judging of each site as one."""
    links = len(settings.compare.profiles)
    rest = settings.seeds * (links * how_many(settings, fit_split=False) + settings.compare.sites)
    fits = how_many(settings, fit_split=True) - how_many(settings, fit_split=False)
    return rest + links * fits
