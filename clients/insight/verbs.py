"""The verbs `intent`, `trend` and `act`: of a text, of a series of counts, of an intent."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from clients.arguments import at_site, named_word
from fl.choices import load_fitting
from fl.errors import SettingsError


def intent(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[TEXT] [site=S] [jsonl=FILE] [out=FILE] [KEY=VALUE]...",
            help="A text, and settings.",
        ),
    ] = None,
    site: Annotated[str, typer.Option(help="The site whose adapter reads it.")] = "",
    jsonl: Annotated[str, typer.Option(help='A file of {"text": ...} lines instead.')] = "",
    out: Annotated[str, typer.Option(help="Where the answers to them go; else printed.")] = "",
) -> None:
    """Read a text as an intent with slots: JSON that is valid under intent.schema.

    Reads the site's shelf of task=intent and the edge model; sends nothing. Writes OUT, if given.
    Line n of the answers is about line n of FILE; all else that is said goes to standard error.
    """
    file, rest = named_word(arguments, "jsonl")
    target, rest = named_word(rest, "out")
    jsonl, out = jsonl or file, out or target
    words, settings, chosen = at_site(rest, site)
    if len(words) != (0 if jsonl else 1):
        raise SettingsError(
            'Give one text, or jsonl=FILE: ./run.sh intent "drop the flow from h1 to h2"'
        )
    from clients.insight.intents.verb import read_and_show

    read_and_show(
        settings,
        chosen,
        text=words[0] if words else "",
        jsonl=jsonl,
        out=out,
        console=Console(stderr=True),
    )


def trend(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[book=FILE] [site=S] [KEY=VALUE]...", help="A series of counts, settings."
        ),
    ] = None,
    site: Annotated[str, typer.Option(help="The site whose adapter forecasts.")] = "",
) -> None:
    """Forecast the next counts of a series: value, interval, direction, level, and a picture.

    Reads FILE (JSONL or CSV of t and count), else the site's own request log; the site's shelf of
    task=trend and the edge model. Writes trend.png and trend.json to the site's folder of the task.
    """
    book, rest = named_word(arguments, "book")
    words, settings, chosen = at_site(rest, site)
    if words:
        raise SettingsError("Give one series: ./run.sh trend book=FILE, or site=S for its log.")
    from clients.insight.trends.verb import forecast_and_show

    forecast_and_show(settings, chosen, book=book, console=Console())


def act(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[intents=FILE] [apply=true] [yes=true] [confirm=ID] [undo=ID] [audit=true] "
            "[KEY=VALUE]...",
            help="Intents as JSON, one, a list or lines; without a file from standard input.",
        ),
    ] = None,
) -> None:
    """Propose management actions for inferred network intents; apply them with apply=true.

    Prints each action as JSON and what it would change; nothing changes without apply=true. What
    takes something away needs its id, typed or as confirm=ID after a dry run. undo=ID shows the
    same of taking the newest one back; audit=true prints and checks the audit. Writes
    var/NAME-SEED/network: rules.json, which admission and edge services obey, and audit.jsonl.
    """
    from clients.insight.acting.carrying_out import Consent
    from clients.insight.acting.deployment import simulator_of
    from clients.insight.acting.verb import propose_and_apply, show_audit, undo
    from clients.insight.acting.words import read_intents, split_words

    words, rest = split_words(arguments or [])
    settings, console = load_fitting(rest), Console()
    if words.audit:
        show_audit(settings, console)
        return
    terminal = sys.stdin.isatty() and (words.undo or words.intents != "-")
    consent = Consent(
        apply=words.apply, yes=words.yes, confirm=words.confirm, ask=input if terminal else None
    )
    actuator = simulator_of(settings)
    if words.undo:
        undo(settings, words.undo, console, actuator=actuator, consent=consent)
    else:
        intents = read_intents(words.intents)
        propose_and_apply(settings, intents, console, actuator=actuator, consent=consent)
