"""`intent`: texts at a site become intents as JSON, in this process, with the site's shelf."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import track

from clients.atomic import publish_text
from clients.edge_model import edge_model
from clients.edge_service.serving import Serving
from clients.insight.intents.schema import to_object
from clients.insight.intents.site_intents import SiteIntents
from clients.prompts.book import LONGEST_LINE, text_of
from fl.errors import BookError, LongTextError
from fl.settings import Settings, with_task
from fl.site import Site
from fl.tasks import INTENT

TOGETHER = 96  # texts read in one go


def read_and_show(
    settings: Settings, site: Site, *, text: str, jsonl: str, out: str, console: Console
) -> None:
    """Print one JSON object a text on standard output, or write them to `out`.

    Texts are `text`, or the lines {"text": ...} of the file `jsonl`. Raises BookError for a bad
    line, LongTextError for a text that the model cannot read whole, FederationError before the site
    has a release of task=intent.
    """
    found = list(_texts(Path(jsonl).expanduser())) if jsonl else [("", text)]
    texts = [text for _, text in found]
    own = settings if settings.task == INTENT else with_task(settings, INTENT)
    intents = site_intents(own, site, console)
    try:
        intents.check(texts)
    except LongTextError as error:
        if not jsonl:
            raise
        raise BookError(f"{found[error.index][0]}: {error}") from None
    lines = _answers(intents, texts, console)
    if out:
        publish_text(Path(out).expanduser(), "".join(f"{line}\n" for line in lines))
        console.print(f"  {len(lines)} intents in {out}", highlight=False, soft_wrap=True)
    else:
        sys.stdout.writelines(f"{line}\n" for line in lines)


def site_intents(settings: Settings, site: Site, console: Console) -> SiteIntents:
    """A site's intents with what its shelf holds now."""
    model = edge_model(settings)
    serving = Serving(
        settings,
        site,
        spec=model.spec,
        layers=model.base.layers,
        say=lambda said: console.print(f"  {said}", highlight=False, soft_wrap=True),
        owns_shelf=False,
    )
    serving.load()
    used = serving.now()
    return SiteIntents(settings, site, model, now=lambda: used.adapter if used else None)


def _answers(intents: SiteIntents, texts: Sequence[str], console: Console) -> list[str]:
    starts = range(0, len(texts), TOGETHER)
    parts = track(starts, "  intents", console=Console(stderr=True)) if len(starts) > 1 else starts
    return [
        json.dumps(to_object(found, intents.schema), ensure_ascii=False)
        for start in parts
        for found in intents.read(texts[start : start + TOGETHER])
    ]


def _texts(file: Path) -> Iterator[tuple[str, str]]:
    """(where it stands, text) of each line. Raises BookError, which quotes none of them."""
    if not file.is_file():
        raise BookError(f'{file} does not exist. Give a file of {{"text": ...}} lines.')
    with open(file, "rb") as lines:
        for number, raw in enumerate(iter(lambda: lines.readline(LONGEST_LINE + 1), b""), start=1):
            where = f"{file}, line {number}"
            if len(raw) > LONGEST_LINE:
                raise BookError(f"{where}: longer than {LONGEST_LINE // 1024} KiB.")
            if not raw.strip():
                continue
            try:
                entry = json.loads(raw.decode("utf-8"))
            except (ValueError, RecursionError):
                raise BookError(f'{where}: expected {{"text": ...}} as JSON in UTF-8.') from None
            if not isinstance(entry, dict):
                raise BookError(f"{where}: expected a JSON object, found {type(entry).__name__}.")
            yield where, text_of(entry, "text", where)
