"""The verb `export-gguf`: the cloud's model as one file for llama.cpp."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from fl.base_model import base_folder
from fl.errors import BaseModelError
from fl.settings import load, resolve


class OutType(StrEnum):
    """How the matrices are stored."""

    f32 = "f32"
    q8_0 = "q8_0"


def export_gguf(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...",
            help="Settings of configs/base.yaml, or config=FILE for a file with several.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The file; without it var/gguf/NAME-OUTTYPE.gguf.")
    ] = None,
    outtype: Annotated[OutType, typer.Option(help="Numbers of 32 bits, or of 8.")] = OutType.f32,
) -> None:
    """Write the cloud's model as a GGUF file, which llama.cpp and its kin can serve.

    Reads the cloud model of `foundation` (or cloud.model), without adapters of `tune-cloud`. Needs
    the package gguf.
    """
    settings = load(arguments or [])
    try:
        from server.gguf_export import export_gguf as export
    except ModuleNotFoundError as error:
        if error.name != "gguf":
            raise
        raise BaseModelError("export-gguf needs the package gguf: pip install gguf.") from None
    folder = base_folder(settings, "cloud")
    named = folder.name if settings.cloud.model == "embedded" else Path(settings.cloud.model).name
    file = resolve(str(out or settings.var_dir / "gguf" / f"{named}-{outtype.value}.gguf"))
    try:
        export(folder, file, outtype=outtype.value)
    except OSError as error:
        raise BaseModelError(f"{file} cannot be written: {error.strerror}.") from error
    megabytes = file.stat().st_size / 1e6
    typer.echo(f"  {file} ({megabytes:.1f} MB, {outtype.value})")
