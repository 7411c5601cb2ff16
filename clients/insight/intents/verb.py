"""`intent`: texts at a site become intents as JSON, in this process, with the site's shelf."""

import json
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from clients.atomic import publish_text
from clients.edge_model import edge_model
from clients.edge_service.serving import adapter_on_shelf
from clients.insight.books import read_task_book
from clients.insight.intents.schema import Intent, to_object
from clients.insight.intents.site_intents import SiteIntents
from clients.prompts.book import text_of
from clients.prompts.json_lines import json_lines
from fl.errors import BookError, LongTextError, SettingsError
from fl.settings import Settings, with_task
from fl.site import Site
from fl.tasks import INTENT

TOGETHER = 96  # texts read in one go


def read_and_show(
    settings: Settings, site: Site, *, text: str, jsonl: str, out: str, console: Console
) -> None:
    """Print one JSON object a text on standard output, or write them to `out`.

    Texts are `text`, or the lines {"text": ...} of the file `jsonl`; `console` is told all else.
    Raises BookError for a bad line, LongTextError for a text that the model cannot read whole,
    FederationError before the site has a release of task=intent, SettingsError for a blank text or
    an `out` that cannot be written; all before anything is read.
    """
    texts = texts_of(Path(jsonl).expanduser()) if jsonl else [text]
    if not jsonl and not text.strip():
        raise SettingsError(
            'The text is blank. Give one that says something: ./run.sh intent "drop the flow from '
            'h1 to h2"'
        )
    target = writable(out) if out else None
    own = with_task(settings, INTENT)
    intents = site_intents(own, site, console)
    try:
        steps = intents.steps(texts, together=TOGETHER)
    except LongTextError as error:
        if not jsonl:
            raise
        raise BookError(f"{jsonl}, line {error.index + 1}: {error}") from None
    found = _all(steps, len(texts), console)
    lines = [json.dumps(to_object(one, intents.schema), ensure_ascii=False) for one in found]
    if target is None:
        sys.stdout.writelines(f"{line}\n" for line in lines)
        return
    try:
        publish_text(target, "".join(f"{line}\n" for line in lines))
    except OSError as error:
        raise _unwritable(out, error.strerror) from None
    console.print(f"  {len(lines)} intents in {out}", highlight=False, soft_wrap=True)


def site_intents(settings: Settings, site: Site, console: Console) -> SiteIntents:
    """A site's intents with what its shelf holds now."""
    model = edge_model(settings)
    adapter = adapter_on_shelf(settings, site.id, model, console)
    return SiteIntents(
        settings,
        site,
        model,
        now=lambda: adapter,
        heldout=lambda: read_task_book(settings, site).heldout,
    )


def texts_of(file: Path) -> list[str]:
    """The texts of a file, one a line. Raises BookError, which quotes none of them."""
    found: list[str] = []
    for number, entry in json_lines(file):
        if number > len(found) + 1:
            raise BookError(
                f"{file}, line {len(found) + 1}: blank. Remove it: answers are matched to texts "
                "by their lines."
            )
        found.append(text_of(entry, "text", f"{file}, line {number}"))
    return found


def writable(out: str) -> Path:
    """The file that `out` names. Raises SettingsError where it cannot be written."""
    target = Path(out).expanduser()
    if target.is_dir():
        raise _unwritable(out, "it is a folder")
    if not target.parent.is_dir():
        raise _unwritable(out, f"there is no folder {target.parent}")
    if not os.access(target.parent, os.W_OK | os.X_OK):
        raise _unwritable(out, f"nothing may be written in {target.parent}")
    return target


def _unwritable(out: str, reason: str | None) -> SettingsError:
    return SettingsError(
        f"out={out} cannot be written: {reason}. Name a file in a folder where you may write."
    )


def _all(steps: Iterable[Sequence[Intent]], texts: int, console: Console) -> list[Intent]:
    """What all steps bring; what several of them do is shown."""
    found: list[Intent] = []
    if texts > TOGETHER:
        steps = track(steps, "  intents", total=None, console=console)
    for some in steps:
        found += some
    return found
