"""The sites' verbs: python -m clients VERB [key=value ...]; run.sh --help lists them.

Exit codes: 0 done; 1 failed, with one sentence that says why; 2 wrong use.
"""

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from clients.arguments import is_setting
from clients.asking.cloud_channel import CloudChannel, service_address
from clients.insight.verb import insight
from clients.insight.verbs import act, intent, trend
from clients.profiles.verb import profile
from clients.workflow.workflow_file import workflow_of
from fl.choices import load_fitting
from fl.errors import FederationError, NetGPTError, SettingsError
from fl.settings import Settings
from fl.site_list import book_path, federated_sites
from fl.tasks import COMPLETE

app = typer.Typer(
    help="A site's side of the project.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show local variables
)
Arguments = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings of configs/base.yaml, or config=FILE for a file with several.",
    ),
]
READY_S = 30.0  # how long to wait for a cloud service that is starting


@app.command()
def books(arguments: Arguments = None) -> None:
    """Write the demo sites' private prompt books and place cards; check the books of others.

    Reads the demo world, or the books that `sites:` names. Writes
    var/NAME-SEED/sites/SITE/book.jsonl and place.json (an existing place.json stays).
    """
    settings = _settings(arguments)
    from clients.insight.books import read_task_book, write_task_books

    for written in write_task_books(settings):
        print(f"  {written.site.id}: {written.train} prompts, {written.heldout} held out")
    for site in federated_sites(settings):
        if site.book is not None:  # a listed site: its books are its own
            book = read_task_book(settings, site)
            print(f"  {site.id}: {len(book.train)} prompts, {len(book.heldout)} held out")
    print(f"  {settings.run_dir / 'sites'}")


@app.command()
def check(arguments: Arguments = None) -> None:
    """Read every site's book and say nothing, or name the first bad line. Writes nothing."""
    settings = _settings(arguments)
    from clients.insight.books import read_task_book

    for site in federated_sites(settings):
        if site.book is not None or book_path(settings, site).is_file():
            read_task_book(settings, site)  # a demo book may not be written yet


@app.command()
def ask(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROMPT] [KEY=VALUE]...", help="A short prompt, and settings as key=value."
        ),
    ] = None,
    site: Annotated[str, typer.Option(help="The site where it is asked.")] = "",
    person: Annotated[str, typer.Option(help="Who asks: a profile of that site.")] = "",
    demo: Annotated[bool, typer.Option(help="Three short prompts at three demo sites.")] = False,
) -> None:
    """Ask a short prompt at a site: card, enriched prompt, the cloud's answer, what left the site.

    Where the site's edge service runs, it is asked. Else this reads the site's place.json, its
    shelf and the edge model. Needs the cloud service running (./run.sh serve). Writes a line of the
    site's ledger, and with --person the history in that profile.
    """
    words = list(arguments or [])
    settings = _of_completions([word for word in words if is_setting(word)])
    prompts = [word for word in words if not is_setting(word)]
    from clients.demo_asking import DEMO_PROMPTS, ask_and_show

    sites = {s.id: s for s in federated_sites(settings)}
    if site and site not in sites:
        raise SettingsError(f"There is no site {site!r}. The sites are: {', '.join(sites)}.")
    chosen = [sites[site]] if site else list(sites.values())
    if demo:
        prompts, chosen = list(DEMO_PROMPTS), chosen[:3]
    elif not prompts:
        raise SettingsError('Give a short prompt: ./run.sh ask "need a coffee" --site marlow-quay')
    else:
        chosen = chosen[:1]
    ask_and_show(settings, prompts, chosen, Console(), person=person)


@app.command()
def site(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE] [KEY=VALUE]...", help="The site's YAML, and settings as key=value."
        ),
    ] = None,
) -> None:
    """Run one site on this host until Ctrl-C: its edge service and its SuperNode.

    Reads the edge model, the site's book and its folder of keys (site.keys). Dials site.fleet and
    site.cloud, and listens on this machine only. Writes var/NAME-SEED/sites/SITE and var/logs.
    """
    words = [w if "=" in w else f"config={w}" for w in arguments or []]
    settings = _settings(words)
    from clients.site_host import host

    console = Console()
    host(settings, words, lambda text: console.print(f"  {text}", highlight=False, soft_wrap=True))


@app.command()
def edge(arguments: Arguments = None) -> None:
    """Run the edge service of the site `site.id` until SIGTERM: it learns, and answers people.

    Reads the edge model, the site's book, place card and shelf. Listens on edge.address (this
    machine only) and writes var/NAME-SEED/sites/SITE/edge.json, the shelf, and one line an event.
    """
    settings = _settings(arguments)
    from clients.edge_service.service import serve

    serve(settings, lambda text: print(text, flush=True))


@app.command()
def study(
    arguments: Arguments = None,
    one_run: Annotated[bool, typer.Option(help="This one seed only.")] = False,
) -> None:
    """Measure what the federation brought, on held-out prompts of every site.

    Reads the books, shelves and releases of every seed (./run.sh study makes what is missing) and
    asks the cloud service. Writes var/NAME-SEED/study/study.md and study.json
    (study-one-run/ with --one-run).
    """
    settings = _of_completions(arguments)
    from clients.study.measure import check_books, measure
    from clients.study.report import write_study

    console = Console()
    seeds = [settings.seed] if one_run else _seeds(settings)
    for seed in seeds:
        check_books(replace(settings, seed=seed))
    with CloudChannel(service_address(settings), settings.asking.timeout_s) as channel:
        if settings.study.answers:
            channel.wait_ready(READY_S)
        studies = [
            measure(
                replace(settings, seed=seed),
                channel=channel if settings.study.answers else None,
                console=console,
            )
            for seed in seeds
        ]
    # one seed in passing must not replace the study of several
    folder = settings.run_dir / ("study-one-run" if one_run else "study")
    console.print(Text(write_study(folder, studies)), soft_wrap=True)
    console.print(f"  {folder / 'study.md'}", soft_wrap=True)


@app.command("study-methods")
def study_methods(arguments: Arguments = None) -> None:
    """Compare all methods and personal parts on every site's book, in this process's workers.

    Reads the books and the edge model. Writes var/NAME-SEED/study-methods: methods.md, methods.png,
    methods.json, and one file a run, so that a study that was stopped goes on.
    """
    settings = _of_completions(arguments)
    from clients.study.measure import check_books
    from clients.study.methods.verb import study_methods as compare

    check_books(settings)
    compare(settings, Console())


@app.command()
def compare(arguments: Arguments = None) -> None:
    """Compare all modes over all links on the same held-out requests, and auto with each of them.

    Reads the books, shelves and releases of every seed (./run.sh compare makes what is missing) and
    asks the cloud service. Writes var/NAME-SEED/compare: compare.md, compare.json, compare.png.
    """
    settings = _of_completions(arguments)
    from clients.compare.verb import compare as compare_modes
    from clients.study.measure import check_books

    check_books(settings)
    compare_modes(settings, Console())


@app.command()
def orchestrate(arguments: Arguments = None) -> None:
    """Play bursty traces against real processes under every admission, and as a model.

    In each a worker of the cloud is killed and links change (orchestrate.*). Reads books, shelves
    and models, of which it uses copies. Writes var/NAME-SEED/orchestrate: orchestrate.md,
    orchestrate.json, orchestrate.png.
    """
    settings = _of_completions(arguments)
    from clients.orchestrate.verb import orchestrate as play_and_model
    from clients.study.measure import check_books

    check_books(settings)
    play_and_model(settings, Console())


@app.command("without-federation")
def without_federation(arguments: Arguments = None) -> None:
    """Print the seeds of `study` and `compare` that no federation has ended for yet."""
    settings = _settings(arguments)
    from clients.study.measure import newest_federation

    missing = []
    for seed in _seeds(settings):
        try:
            newest_federation(replace(settings, seed=seed))
        except FederationError:
            missing.append(seed)
    print(" ".join(map(str, missing)))


@app.command()
def ledger(arguments: Arguments = None) -> None:
    """Print what the sites of this machine have spent: bytes, characters, seconds, by mode.

    Reads var/NAME-SEED/sites/*/ledger.jsonl. Writes nothing.
    """
    settings = _settings(arguments)
    from clients.ledger.verb import show_ledger

    show_ledger(settings, Console())


@app.command()
def status(
    arguments: Arguments = None,
    once: Annotated[bool, typer.Option(help="Print it once and end.")] = False,
) -> None:
    """Show sites, cloud workers, links, releases, queues and the last minute, until Ctrl-C.

    Asks the cloud service and the edge services that run; reads var/NAME-SEED/sites. Writes
    nothing.
    """
    settings = _settings(arguments)
    from clients.status.verb import show_status

    show_status(settings, Console(), once=once)


@app.command()
def workflow(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILE] [KEY=VALUE]...", help="A workflow file; else the settings' own."
        ),
    ] = None,
) -> None:
    """Check a workflow file and print its steps; refuse one that would let private text out.

    Reads the file. Writes nothing.
    """
    words = list(arguments or [])
    settings = _settings([word for word in words if is_setting(word)])
    files = [word for word in words if not is_setting(word)]
    if len(files) > 1:
        raise SettingsError(f"Give one workflow file, found {len(files)}.")
    from clients.workflow.verb import show_workflow

    show_workflow(settings, files[0] if files else "", Console())


@app.command()
def trace(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[REQUEST_ID|last] [KEY=VALUE]...", help="Which request; the last one."
        ),
    ] = None,
    site: Annotated[str, typer.Option(help="The site where it was asked.")] = "",
) -> None:
    """Print what one request did: step by step, when, how long, how it went.

    Reads var/NAME-SEED/sites/SITE/traces.jsonl, which holds no text. Writes nothing.
    """
    words = list(arguments or [])
    settings = _settings([word for word in words if is_setting(word)])
    wanted = [word for word in words if not is_setting(word)] or ["last"]
    sites = [s.id for s in federated_sites(settings)]
    if len(wanted) > 1 or (site and site not in sites):
        raise SettingsError(
            f"Give one request of one site: ./run.sh trace last --site {sites[0]}. "
            f"The sites are: {', '.join(sites)}."
        )
    from clients.workflow.verb import show_trace

    show_trace(settings, site or sites[0], wanted[0], Console())


@app.command()
def seeds(arguments: Arguments = None) -> None:
    """Print the seeds that `study` runs, and so check the settings and the workflow."""
    settings = _of_completions(arguments)
    federated_sites(settings)
    workflow_of(settings)
    print(" ".join(map(str, _seeds(settings))))


@app.command()
def answers(arguments: Arguments = None) -> None:
    """Print whether `study` asks the cloud: true or false."""
    print(str(_of_completions(arguments).study.answers).lower())


app.add_typer(profile, name="profile")
app.add_typer(insight, name="insight")
for by_product in (intent, trend, act):
    app.command()(by_product)


def _seeds(settings: Settings) -> list[int]:
    return list(range(settings.seed, settings.seed + settings.seeds))


def _settings(arguments: Sequence[str] | None) -> Settings:
    return load_fitting(list(arguments or []))


def _of_completions(arguments: Sequence[str] | None) -> Settings:
    """The settings of a verb that is about completions alone. Raises SettingsError for others."""
    settings = _settings(arguments)
    if settings.task != COMPLETE:
        raise SettingsError(
            f"task={settings.task} is not for this verb, which is about completions alone. "
            "Leave task= out; ./run.sh intent, trend and insight are about the other tasks."
        )
    return settings


def _stop(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends a verb as Ctrl-C does, so that it can tidy up."""
    raise KeyboardInterrupt


def main() -> None:
    """Run a verb; errors become one clear text and an exit code."""
    signal.signal(signal.SIGTERM, _stop)
    os.umask(0o077)  # books, shelves and what else a site writes are for its owner alone
    try:
        app(standalone_mode=True)
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    except NetGPTError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
