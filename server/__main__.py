"""The cloud's verbs: python -m server foundation | simulate | federate | cloud | serve | ...

Exit codes: 0 done; 1 failed, with one sentence that says why; 2 wrong use.
"""

import signal
import sys
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console

from fl.choices import load_fitting
from fl.errors import NetGPTError, SettingsError
from fl.settings import DEFAULT_CONFIG, Settings
from server.gguf_verb import export_gguf
from server.key_verbs import keys
from server.release_verbs import releases
from server.tuning.verb import tune_cloud

app = typer.Typer(
    help="The cloud's side of the project.",
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


@app.command()
def foundation(arguments: Arguments = None) -> None:
    """Make the small base models, where no hub is reachable.

    Reads the public corpus of the demo world (or foundation.corpus=FILE). Writes
    var/foundation/edge-KEY and cloud-KEY, ordinary Hugging Face folders; KEY is a digest of all
    that decides a model, so a second run finds them made.
    """
    settings = _settings(arguments)
    from server.foundation.build import build

    build(settings)


@app.command()
def simulate(
    arguments: Arguments = None,
    federation: Annotated[
        str, typer.Option(help="Go on with this unfinished federation, for instance 001.")
    ] = "",
) -> None:
    """Let all sites learn together, in Flower's simulation on this machine.

    Reads the edge model of `foundation` and the sites' books of `books`. Writes
    var/NAME-SEED/federations/NUMBER (releases, rounds.jsonl, status.json), the shelves of
    the sites, and var/logs.
    """
    settings = _settings(arguments)
    from server.federation.simulation import simulate as run_simulation

    console = Console()
    config, overrides = _split(arguments)
    folder = run_simulation(
        settings, config=config, overrides=overrides, console=console, federation=federation
    )
    console.print(f"  federation {folder.name}: {folder}", highlight=False, soft_wrap=True)


@app.command()
def federate(
    arguments: Arguments = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the newest one that did not complete.")
    ] = False,
) -> None:
    """Let all sites learn together, with the real processes of a deployment on this machine.

    Starts a SuperLink (TLS, registered keys), the cloud service, and per site an edge service and a
    SuperNode; stops all of them at the end. Reads the edge model and the books. Writes
    var/NAME-SEED/federations/NUMBER, the shelves of the sites, var/pki and var/logs.
    """
    settings = _settings(arguments)
    from server.deployment.federate import federate as carry_out

    console = Console()
    config, overrides = _split(arguments)
    folder = carry_out(settings, config=config, overrides=overrides, console=console, resume=resume)
    console.print(f"  federation {folder.name}: {folder}", highlight=False, soft_wrap=True)


@app.command()
def cloud(
    arguments: Arguments = None,
    new: Annotated[bool, typer.Option("--new", help="Begin another federation.")] = False,
) -> None:
    """The cloud's side for sites on other hosts, until Ctrl-C: rounds, releases, answers.

    Listens on cloud.fleet (Flower's Fleet API alone, TLS) and service.address (mutual TLS beyond
    this machine). Goes on with the newest federation. Reads the edge and the cloud model, var/pki.
    Writes var/NAME-SEED/federations/NUMBER and var/logs.
    """
    settings = _settings(arguments)
    from server.deployment.host_cloud import host_cloud

    config, overrides = _split(arguments)
    host_cloud(settings, config=config, overrides=overrides, console=Console(), new=new)


@app.command()
def serve(
    arguments: Arguments = None,
    tethered: Annotated[
        bool, typer.Option("--tethered", help="Also end when standard input ends.")
    ] = False,
) -> None:
    """Answer enriched prompts until SIGTERM or Ctrl-C: gRPC netgpt.v1 on service.address.

    Reads the cloud model of `foundation` (or cloud.model). Writes its address into
    var/NAME-SEED/service.address while it runs. With engine.kind=workers it starts engine.workers
    services like itself and spreads the requests over them.
    """
    settings = _settings(arguments)
    from server.service import serve as serve_until_stopped

    serve_until_stopped(settings, tethered=tethered)


@app.command()
def report(
    arguments: Arguments = None,
    federation: Annotated[str, typer.Option(help="Its number; the newest by default.")] = "",
) -> None:
    """What the rounds of a federation were like, in tables and a picture.

    Reads var/NAME-SEED/federations/NUMBER/rounds.jsonl. Writes var/NAME-SEED/report/report.md and
    round-report.png.
    """
    settings = _settings(arguments)
    from server.report.verb import report as write_report

    write_report(settings, federation=federation, console=Console())


app.command()(keys)
app.command("tune-cloud")(tune_cloud)
app.command("export-gguf")(export_gguf)
app.add_typer(releases, name="releases")


def _split(arguments: list[str] | None) -> tuple[str, list[str]]:
    """The configuration file and the key=value overrides, for processes that load them again."""
    files = [a.removeprefix("config=") for a in arguments or [] if a.startswith("config=")]
    overrides = [a for a in arguments or [] if not a.startswith("config=")]
    return (files[-1] if files else DEFAULT_CONFIG), overrides


def _settings(arguments: list[str] | None) -> Settings:
    return load_fitting(arguments or [], warn=lambda text: print(text, file=sys.stderr))


def _stop(signum: int, frame: FrameType | None) -> None:
    """SIGTERM ends a verb as Ctrl-C does, so that it can tidy up."""
    raise KeyboardInterrupt


def main() -> None:
    """Run a verb; typer itself exits with 2 for wrong use and 130 for Ctrl-C."""
    signal.signal(signal.SIGTERM, _stop)
    try:
        app()
    except NetGPTError as error:
        typer.echo(f"{error}", err=True)
        sys.exit(2 if isinstance(error, SettingsError) else 1)


if __name__ == "__main__":
    main()
