"""What people are served with now: the release in use beside the newest personal part.

A prompt takes `now()` once, at its start, and works with that to its end, so a swap meanwhile does
not touch it.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from rich.console import Console

from clients.adapter_shelf import AdapterShelf, shelves_in_use
from clients.capability import site_rank
from clients.edge_model import EdgeModel
from clients.personal_part import in_use, release_view, served_adapter
from fl.adapter import Adapter, AdapterSpec, digest
from fl.errors import AdapterError, NetGPTError, ReleaseError
from fl.release import AdapterRelease
from fl.settings import Settings
from fl.sharing import same_but_rank
from fl.site import Site
from fl.site_list import federated_sites

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class InUse:
    """One release in use, whole: nothing of it changes."""

    release: AdapterRelease = field(repr=False)
    adapter: Adapter = field(repr=False)  # shared and personal part joined

    @cached_property
    def digest(self) -> str:
        """The same whenever the same release is beside the same personal part."""
        its = self.release
        return f"{its.federation}/{its.number}/{digest(self.adapter)}"

    @property
    def name(self) -> str:
        """federation/number, for log lines."""
        return f"{self.release.federation}/{self.release.number}"


class Serving:
    """Holds what is in use; the shelf's `current` says the same on disk."""

    def __init__(
        self,
        settings: Settings,
        site: Site,
        *,
        spec: AdapterSpec,
        layers: Mapping[str, tuple[int, int]],
        say: Say,
        owns_shelf: bool = True,
    ) -> None:
        """`spec` is the model's, whatever its rank; `layers` are the base model's.

        Without `owns_shelf` nothing on it is changed: another service of this machine follows the
        cloud for that site.
        """
        self._settings, self._site, self._say = settings, site, say
        self._spec, self._layers, self._owns_shelf = spec, layers, owns_shelf
        self._lock = threading.Lock()  # of those who change it
        self._shelf: AdapterShelf | None = None
        self._now: InUse | None = None
        self._last = ("", 0)
        self._away = False  # put away: the shelf has it

    def now(self) -> InUse | None:
        """What is in use; None before the first release. One that was put away is loaded."""
        found = self._now  # once: it may be put away meanwhile
        if found is None and self._away:
            with self._lock:
                if self._now is None and self._away:
                    self._load()
                    self._away = False
                found = self._now
        return found

    @property
    def warm(self) -> bool:
        """Is its adapter in memory?"""
        return self._now is not None

    @property
    def last(self) -> tuple[str, int]:
        """Federation and number of the release in use, in memory or not; "" and 0 for none."""
        return self._last

    def put_away(self) -> None:
        """Free the memory of the adapter until somebody asks; who uses it now has it still."""
        with self._lock:
            if self._now is not None:
                self._now, self._away = None, True

    def load(self) -> None:
        """Take up what the shelves say, from the newest federation whose release is sound."""
        with self._lock:
            self._load()

    def _load(self) -> None:
        for shelf in shelves_in_use(self._settings, self._site.id):
            try:
                release = shelf.current()
                if release is not None:
                    self._now = self.joined(shelf, release)
                    self._shelf, self._last = shelf, (release.federation, release.number)
                    return
            except (ReleaseError, AdapterError) as error:
                self._say(
                    f"a release of federation {shelf.federation} on the shelf is refused: "
                    f"{type(error).__name__}"
                )
                # What is damaged goes, for the cloud has a sound one; what these settings do not
                # fit stays: it may be the settings that are wrong.
                if self._owns_shelf and isinstance(error, ReleaseError):
                    shelf.use_none()

    def joined(self, shelf: AdapterShelf, release: AdapterRelease) -> InUse:
        """A release beside the shelf's newest personal part. Raises AdapterError on a misfit."""
        settings, layers = self._settings, self._layers
        if release.task != settings.task:
            raise AdapterError(
                f"Release {release.federation}/{release.number} is for task={release.task}, "
                f"expected one for task={settings.task}. It lies on the wrong shelf; take it away."
            )
        try:
            adapter = in_use(shelf, release, settings, self._site, layers)
        except (AdapterError, OSError) as error:
            self._say(f"a personal part on the shelf is damaged: {type(error).__name__}")
            # people are better served with the release alone than not at all
            view = release_view(release, site_rank(settings, self._site, layers))
            adapter = served_adapter(view, None, layers=layers, settings=settings)
        if not same_but_rank(adapter.spec, self._spec):
            raise AdapterError(
                f"Release {release.federation}/{release.number} and the personal part make "
                f"{adapter.spec}, these settings make {self._spec}. Use the settings of the cloud."
            )
        return InUse(release=release, adapter=adapter)

    def swap(self, shelf: AdapterShelf, release: AdapterRelease) -> None:
        """Put a release that the shelf holds into use, from the next prompt on.

        Raises ReleaseError, AdapterError or OSError; what was in use then stays.
        """
        with self._lock:
            before, after = self._now, self.joined(shelf, release)
            shelf.use(release.number)
            for other in shelves_in_use(self._settings, self._site.id):
                if other.federation == shelf.federation:
                    break
                other.use_none()  # the newest federation with one counts after a restart
            self._shelf, self._now = shelf, after
            self._last = release.federation, release.number
        self._say_swapped(before, after)

    def refresh(self) -> None:
        """Take up what learning has put on the shelf. Raises nothing: it can wait."""
        with self._lock:
            try:
                if self._shelf is None or self._now is None:
                    self._load()
                    self._say_swapped(None, self._now)
                    return
                self._now = self.joined(self._shelf, self._now.release)
            except (NetGPTError, OSError) as error:
                self._say(f"the newest personal part is not used: {type(error).__name__}")

    def _say_swapped(self, before: InUse | None, after: InUse | None) -> None:
        if after is not None:
            self._say(f"release swapped from {before.name if before else 'none'} to {after.name}")


def adapter_on_shelf(
    settings: Settings, site_id: str, model: EdgeModel, console: Console
) -> Adapter | None:
    """What a site's people are served with, for a process that only reads its shelf of the task.

    None before the site's first release. What is wrong with the shelf is printed.
    """
    serving = Serving(
        settings,
        next(site for site in federated_sites(settings) if site.id == site_id),
        spec=model.spec,
        layers=model.base.layers,
        say=lambda said: console.print(f"  {said}", highlight=False, soft_wrap=True),
        owns_shelf=False,
    )
    serving.load()
    used = serving.now()
    return used.adapter if used else None
