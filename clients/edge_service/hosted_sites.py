"""Other sites whose shelves lie on this machine, and for which the edge service answers as well.

They learn through edge services of their own, or not at all; here their shelves are only read, and
read again when something on them has changed.
"""

import threading
from collections.abc import Sequence
from pathlib import Path

from clients.adapter_shelf import shelves_in_use
from clients.edge_model import EdgeModel
from clients.edge_service.serving import Say, Serving
from clients.insight.acting.prewarm import Outlook, kept_warm
from fl.errors import NetGPTError, SettingsError
from fl.settings import Settings
from fl.site import Site
from fl.site_list import federated_sites, site_folder


def other_sites(settings: Settings) -> list[Site]:
    """The sites that edge.hosts names. Raises SettingsError."""
    sites = {site.id: site for site in federated_sites(settings)}
    wanted = settings.edge.hosts
    wrong = [s for s in wanted if s not in sites or s == settings.site.id or wanted.count(s) > 1]
    if wrong:
        raise SettingsError(
            f"edge.hosts names each other site once, of {', '.join(sites)}; found {wrong[0]!r}."
        )
    return [sites[site_id] for site_id in wanted]


class HostedSites:
    """What people of these sites are served with; `run` follows their shelves."""

    def __init__(
        self,
        settings: Settings,
        sites: Sequence[Site],
        model: EdgeModel,
        say: Say,
        *,
        outlook: Outlook,
    ) -> None:
        """`outlook` says of which sites most is expected, where not all can stay in memory."""
        self._settings, self._say, self._outlook = settings, say, outlook
        self.serving = {
            site.id: Serving(
                settings,
                site,
                spec=model.spec,
                layers=model.base.layers,
                say=named(site.id, say),
                owns_shelf=False,
            )
            for site in sites
        }
        self._seen: dict[str, object] = {}  # what each shelf was like when it was read
        self._unreadable: set[str] = set()
        self.look()

    def run(self, stop: threading.Event) -> None:
        """Look every edge.refresh_s seconds; the outermost loop of its thread."""
        while not stop.wait(self._settings.edge.refresh_s):
            self.look()

    def look(self) -> None:
        """Read every shelf that has changed, of those sites whose adapters stay in memory."""
        warm = {site_id for site_id, serving in self.serving.items() if serving.warm}
        kept = kept_warm(
            list(self.serving),
            self._outlook.per_s,
            most=self._settings.prewarm.adapters,
            warm=warm,
        )
        for site_id in warm - kept:
            self.serving[site_id].put_away()
        for site_id, serving in self.serving.items():
            try:
                now = self._state(site_id)
                if site_id in kept:
                    serving.now()  # loads what was put away
                elif site_id in self._seen:
                    continue  # loaded when somebody asks
                if now != self._seen.get(site_id):
                    serving.load()
                    self._seen[site_id] = now
                if site_id not in kept:
                    serving.put_away()
                self._unreadable.discard(site_id)
            except (NetGPTError, OSError) as error:  # the next look tries again
                if site_id not in self._unreadable:
                    self._say(f"{site_id}: its shelf cannot be read: {type(error).__name__}")
                self._unreadable.add(site_id)

    def _state(self, site_id: str) -> object:
        """Changes whenever something appears on, or goes from, the shelf."""
        folder = site_folder(self._settings, site_id) / "shelf"
        return [
            (shelf.federation, shelf.current_number(), _changed_at(folder / shelf.federation))
            for shelf in shelves_in_use(self._settings, site_id)
        ]


def _changed_at(folder: Path) -> int:
    return folder.stat().st_mtime_ns


def named(name: str, say: Say) -> Say:
    """Says who it is of before each line."""
    return lambda text: say(f"{name}: {text}")
