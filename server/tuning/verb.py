"""The verb `tune-cloud`."""

from typing import Annotated

import typer
from rich.console import Console

from fl.settings import load


def tune_cloud(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings of configs/base.yaml, or config=FILE for a file with several.",
        ),
    ] = None,
) -> None:
    """Tune the cloud's LLaMA by LoRA on the cloud's own corpus; a running cloud takes it up.

    Starts from the base each time. Reads the cloud model of `foundation` (or cloud.model), which
    stays as it is, and the demo world's corpus (or foundation.corpus=FILE). Writes a signed release
    into var/NAME-SEED/cloud/releases, and makes it current if its held-out loss is not worse than
    what is current. `releases list --federation cloud` shows what came of it.
    """
    settings = load(words or [])
    from server.tuning.publish import tune_and_publish

    tune_and_publish(settings, Console())
