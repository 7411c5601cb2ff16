"""A site's shelf: the release it works with and its personal part, on its own disk.

    <shelf>/release-<n>/   the shared part as the cloud sent it   (PEFT folder)
    <shelf>/personal/      what never leaves                      (PEFT folder)

Each folder appears whole or not at all: it is written aside, flushed and renamed. A process that
dies between the two renames of a replacement leaves the folder before as `<name>.before`, and the
next reader puts it back.
"""

import os
import shutil
import tempfile
from pathlib import Path

from fl import adapter_file
from fl.adapter import Adapter
from fl.settings import Settings
from fl.site_list import site_folder

_RELEASE = "release-"
_PERSONAL = "personal"


class AdapterShelf:
    """Adapters of one site in one federation. The newest release is the one that counts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep_release(self, number: int, adapter: Adapter) -> None:
        """Keep a release and drop the older ones, which the cloud has."""
        _publish(self.folder / f"{_RELEASE}{number}", adapter)
        for older in self._releases():
            if older != number:
                shutil.rmtree(self.folder / f"{_RELEASE}{older}")

    def release(self) -> tuple[int, Adapter] | None:
        """The newest release with its number; None before the first one."""
        numbers = self._releases()
        if not numbers:
            return None
        newest = max(numbers)
        return newest, adapter_file.read(self.folder / f"{_RELEASE}{newest}")

    def keep_personal(self, adapter: Adapter) -> None:
        """Replace the personal part."""
        _publish(self.folder / _PERSONAL, adapter)

    def personal(self) -> Adapter | None:
        """The personal part; None before the site's first round."""
        folder = self.folder / _PERSONAL
        _recover(folder)
        return adapter_file.read(folder) if folder.is_dir() else None

    def _releases(self) -> list[int]:
        names = [path.name for path in self.folder.glob(f"{_RELEASE}*")]
        numbers = {name.removeprefix(_RELEASE).removesuffix(".before") for name in names}
        found = sorted(int(number) for number in numbers if number.isdecimal())
        for number in found:
            _recover(self.folder / f"{_RELEASE}{number}")
        return found


def open_shelf(settings: Settings, site_id: str, federation: str) -> AdapterShelf:
    """The shelf of a site in a federation ("001", "002", ...); it need not exist yet."""
    return AdapterShelf(site_folder(settings, site_id) / "shelf" / federation)


def newest_shelf(settings: Settings, site_id: str) -> AdapterShelf | None:
    """The shelf of the newest federation that delivered a release to this site, if any did."""
    shelves = site_folder(settings, site_id) / "shelf"
    for folder in sorted(shelves.glob("[0-9]*"), key=lambda f: (len(f.name), f.name), reverse=True):
        shelf = AdapterShelf(folder)
        if shelf._releases():
            return shelf
    return None


def _publish(folder: Path, adapter: Adapter) -> None:
    """Write aside, flush to disk, rename."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    _recover(folder)
    aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        adapter_file.write(aside, adapter)
        for path in [*aside.iterdir(), aside]:
            _flush(path)
        before = _before(folder)
        if folder.exists():  # a folder cannot be renamed over one that holds files
            folder.rename(before)
        aside.rename(folder)
        _flush(folder.parent)
        if before.exists():
            shutil.rmtree(before)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _recover(folder: Path) -> None:
    """Finish or undo a replacement that was interrupted."""
    before = _before(folder)
    if before.is_dir():
        if folder.exists():
            shutil.rmtree(before)
        else:
            before.rename(folder)


def _before(folder: Path) -> Path:
    return folder.with_name(folder.name + ".before")


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
