"""The verbs `releases list | show | verify | rollback`: what rounds made, and what sites use.

`--federation cloud` means the releases of the cloud's own adapter, which `tune-cloud` makes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from fl.adapter import digest
from fl.base_model import Side, base_folder
from fl.errors import BaseModelError, ReleaseError
from fl.release import Verdict
from fl.settings import Settings, load
from fl.signing import cloud_key
from server.federation.verdicts import FILE as VERDICTS
from server.federation.verdicts import read_verdicts
from server.release_aliases import ALIASES
from server.releases import Releases
from server.tuning import store

releases = typer.Typer(
    help="What the rounds made, and which release sites use.", no_args_is_help=True
)
Words = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="Settings of configs/base.yaml, or config=FILE for a file with several.",
    ),
]
NumberAndWords = Annotated[
    list[str] | None,
    typer.Argument(metavar="[NUMBER] [KEY=VALUE]...", help="A release; and settings as above."),
]
Name = Annotated[str, typer.Option(help="Which federation, or cloud; the newest unless said.")]

_WIDE = 160  # columns of the table where no terminal says how wide it is


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """One federation's releases, and what people said of them."""

    name: str
    releases: Releases
    verdicts: dict[int, Verdict]  # by release number, the last one
    settings: Settings


@releases.command("list")
def list_verb(words: Words = None, federation: Name = "") -> None:
    """One line a release: what it is, what names it, how sites judged it.

    Reads var/NAME-SEED/federations/NUMBER (or cloud) and verifies every release. Writes nothing.
    """
    opened = _open(words, federation)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("no", "round", "method", "in use", "held-out loss", "size", "made", "digest"):
        number = title in ("no", "round", "held-out loss", "size")
        table.add_column(title, justify="right" if number else "left", no_wrap=True)
    table.add_column("verdict", overflow="fold")
    for release in opened.releases.numbers():
        table.add_row(*_row(opened, release))
    console = _console()
    console.print(_heading(opened), highlight=False, soft_wrap=True)
    console.print(table)


@releases.command("show")
def show_verb(words: NumberAndWords = None, federation: Name = "") -> None:
    """The manifest of a release (the current one unless a number is given), and how to load it.

    Reads and verifies the release. Writes nothing.
    """
    number, words = _number_and_settings(words)
    opened = _open(words, federation)
    kept = opened.releases  # verifies what it reads, or refuses with the reason
    release = kept.current() if number is None else kept.load(number)
    folder = kept.folder / str(release.number)
    marks = ", ".join(_marks(opened, release.number)) or "not in use"
    typer.echo(f"release {release.number} of federation {opened.name}: {marks}")
    typer.echo(f"folder: {folder} ({_size(folder)}, made {_made(folder)})")
    verdict = opened.verdicts.get(release.number)
    typer.echo(f"verdict: {verdict.reason if verdict else 'none'}")
    typer.echo("signature: good, made by the cloud's key\n")
    typer.echo(release.manifest.decode())
    typer.echo("In Python, with transformers and peft imported:")
    typer.echo(f'  base = AutoModelForCausalLM.from_pretrained("{_base(opened)}")')
    typer.echo(f'  model = PeftModel.from_pretrained(base, "{folder}")')


@releases.command("verify")
def verify_verb(words: Words = None, federation: Name = "") -> None:
    """Check the signature and every file of every release; exit 1 if one is not as it was made.

    Reads var/NAME-SEED/federations/NUMBER (or cloud). Writes nothing.
    """
    opened = _open(words, federation)
    typer.echo(_heading(opened))
    lines = list(_verified(opened))
    typer.echo("\n".join(f"  {line}" for line, _ in lines))
    if not all(good for _, good in lines):
        raise typer.Exit(1)


@releases.command("rollback")
def rollback_verb(
    words: NumberAndWords = None,
    federation: Name = "",
    why: Annotated[str, typer.Option(help="For the history.")] = "by hand",
) -> None:
    """Let sites use the previous release again, or any one by its number.

    Works while a cloud is running. Reads and verifies that release. Writes the alias `current` and
    a line of history.jsonl.
    """
    number, words = _number_and_settings(words)
    opened = _open(words, federation)
    before = opened.releases.aliases.read_if_good("current")
    release = opened.releases.rollback(number, why=why)
    if release.number == before:
        typer.echo(
            f"federation {opened.name}: release {before} is current already. To go elsewhere name "
            "a release: ./run.sh releases rollback NUMBER"
        )
        return
    was = "" if before is None else f" (before: release {before})"
    typer.echo(f"federation {opened.name}: release {release.number} is current now{was}.")


def _open(words: list[str] | None, federation: str) -> _Opened:
    settings = load(words or [])
    federations = settings.federations_dir
    found = {folder.parent.name: folder for folder in federations.glob("*/releases")}
    newest = max(found, key=lambda name: (len(name), name), default="")
    if (folder := store.releases_folder(settings)).is_dir():
        found[store.FEDERATION] = folder
    name = federation or newest
    if name not in found:
        said = f"no federation {name}" if name else "no federation with a release"
        there = f" There is: {', '.join(sorted(found))}." if found else ""
        raise ReleaseError(f"There is {said} in {federations}.{there}")
    folder = found[name]
    return _Opened(
        name=name,
        releases=Releases(
            folder, federation=name, cloud_key=cloud_key(settings), task=settings.task
        ),
        verdicts={v.release_number: v for v in read_verdicts(folder.parent / VERDICTS)},
        settings=settings,
    )


def _number_and_settings(words: list[str] | None) -> tuple[int | None, list[str]]:
    """Sort NUMBER from KEY=VALUE; more than one number, or none of both, is wrong use."""
    plain = [word for word in words or [] if "=" not in word]
    if len(plain) > 1 or not all(word.isdecimal() for word in plain):
        typer.echo(f"Expected one release number, found {' '.join(plain)!r}.", err=True)
        raise typer.Exit(2)
    settings = [word for word in words or [] if "=" in word]
    return (int(plain[0]) if plain else None), settings


def _row(opened: _Opened, number: int) -> list[str | Text]:
    folder = opened.releases.folder / str(number)
    marks = ", ".join(_marks(opened, number))
    try:
        release = opened.releases.load(number)
    except ReleaseError as error:
        said = Text(f"DAMAGED: {error}", style="red")
        return [str(number), "", "", marks, "", _size(folder), _made(folder), "", said]
    loss = release.metrics.get("mean_heldout_loss")
    return [
        str(number),
        str(release.round_number),
        release.method,
        Text(marks, style="green" if "current" in marks else ""),
        "" if loss is None else f"{loss:.4f}",
        _size(folder),
        _made(folder),
        digest(release.shared)[:12],
        _verdict(opened, number),
    ]


def _verified(opened: _Opened) -> Iterator[tuple[str, bool]]:
    """A line for every release, one for the alias; with whether it is good."""
    for number in opened.releases.numbers():
        try:
            release = opened.releases.load(number)
        except ReleaseError as error:
            yield f"release {number}: DAMAGED: {error}", False
        else:
            files = sum(1 for _ in (opened.releases.folder / str(number)).iterdir())
            short = digest(release.shared)[:12]
            yield f"release {number}: good, {files} files, digest {short}", True
    try:
        yield f"current: release {opened.releases.current().number}", True
    except ReleaseError as error:
        yield f"current: {error}", False


def _marks(opened: _Opened, number: int) -> list[str]:
    return [a for a in ALIASES if opened.releases.aliases.read_if_good(a) == number]


def _verdict(opened: _Opened, number: int) -> str:
    """The verdict in half a line; its whole sentence where no site judged."""
    verdict = opened.verdicts.get(number)
    if verdict is None:
        return ""
    if not verdict.sites:
        return verdict.reason
    return (
        f"{'passed' if verdict.passed else 'kept back'}: {verdict.worst_rise:+.3g} nats/token at "
        f"{verdict.worst_site}, worst of {verdict.sites}, against {verdict.current_number}"
    )


def _base(opened: _Opened) -> str:
    side: Side = "cloud" if opened.name == store.FEDERATION else "edge"
    try:
        return str(base_folder(opened.settings, side))
    except BaseModelError:
        return "BASE MODEL"


def _heading(opened: _Opened) -> str:
    return f"federation {opened.name}, {opened.releases.folder}"


def _size(folder: Path) -> str:
    """All files of a release, in kB (1000 bytes) or MB."""
    size = sum(file.stat().st_size for file in folder.iterdir())
    return f"{size / 1e3:.0f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"


def _made(folder: Path) -> str:
    return datetime.fromtimestamp(folder.stat().st_mtime).strftime("%Y-%m-%d %H:%M")


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=_WIDE)
