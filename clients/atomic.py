"""Folders and small files that appear on disk whole or not at all: written aside, flushed, renamed.

A folder that holds files cannot be renamed over. So a replacement takes two renames, and a process
that dies between them leaves the folder before as `<name>.before`; `recover` puts it back.
"""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from fl import durable

_BEFORE = ".before"


def publish_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Make or replace `folder`. `write` fills a folder that does not exist yet."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover(folder)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    made = aside / "whole"
    try:
        write(made)
        for file in made.iterdir():
            durable.sync_file(file)
        durable.sync_folder(made)
        before = _before(folder)
        if folder.exists():
            folder.rename(before)
        made.rename(folder)
        durable.sync_folder(folder.parent)
        if before.exists():
            shutil.rmtree(before)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def publish_text(file: Path, text: str) -> None:
    """Make or replace a small file that only its owner may read."""
    durable.publish(file, text.encode(), mode=0o600)


def recover(folder: Path) -> None:
    """Finish or undo a replacement of `folder` that was interrupted."""
    before = _before(folder)
    if before.is_dir():
        if folder.exists():
            shutil.rmtree(before)
        else:
            before.rename(folder)


def recover_all(parent: Path) -> None:
    """The same for every folder in `parent`."""
    for before in parent.glob(f"*{_BEFORE}"):
        recover(before.with_name(before.name.removesuffix(_BEFORE)))


def clear_asides(parent: Path) -> None:
    """Remove what a killed process was writing; only while nobody else writes in `parent`."""
    for aside in parent.glob(".*"):
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def _before(folder: Path) -> Path:
    return folder.with_name(folder.name + _BEFORE)
