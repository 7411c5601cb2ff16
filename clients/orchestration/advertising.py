"""The edge service's adverts: what its sites have, how busy they are, what their link is like."""

import os
import threading
from collections.abc import Callable, Mapping

from clients.edge_service.serving import Say, Serving
from clients.orchestration.cloud_desk import CloudDesk, OwnState
from clients.orchestration.own_pace import OwnPace
from clients.routing.link_meter import LinkMeter
from fl.errors import GenerationError
from fl.network.rules import Rules
from fl.settings import Settings


class Advertising:
    """Of all sites of one service; `run` is the outermost loop of a thread."""

    def __init__(
        self,
        settings: Settings,
        desk: CloudDesk,
        *,
        serving: Mapping[str, Serving],
        meter: LinkMeter,
        pace: OwnPace,
        waiting: Callable[[], int],
        say: Say,
        forecast_per_s: Callable[[str], float] = lambda site_id: 0.0,
        hear: Callable[[str, Rules], object] = lambda site_id, rules: None,
    ) -> None:
        """`serving` is by site; `waiting` looks up the prompts that wait for the model; `hear`
        is told the rules that the cloud has for a site.
        """
        self._settings, self._desk, self._serving = settings, desk, serving
        self._meter, self._pace, self._waiting, self._say = meter, pace, waiting, say
        self._forecast_per_s, self._hear = forecast_per_s, hear
        self._told = True  # whether the newest advert arrived

    def run(self, stop: threading.Event) -> None:
        """Advertise every orchestration.advert_s seconds, at once first."""
        every_s = self._settings.orchestration.advert_s
        while every_s and not stop.is_set():
            self.advertise()
            stop.wait(every_s)

    def advertise(self) -> None:
        """Tell the cloud once. A cloud that is away costs a line in the log, once."""
        self._meter.look()
        try:
            for site_id in self._serving:
                self._hear(site_id, self._desk.advertise(self._state(site_id)))
            self._told = True
        except GenerationError as error:
            if self._told:
                self._say(f"the cloud takes no adverts: {error.status}")
            self._told = False

    def _state(self, site_id: str) -> OwnState:
        (federation, release), pace = self._serving[site_id].last, self._pace.pace
        return OwnState(
            site_id=site_id,
            cell=cell_of(self._settings, site_id),
            cores=len(os.sched_getaffinity(0)),
            memory_mb=free_memory_mb(),
            waiting=self._waiting(),
            step_s=pace.step_s,
            row_s=pace.row_s,
            link=self._meter.state(wait_s=0.0),
            federation=federation,
            release=release,
            forecast_per_s=self._forecast_per_s(site_id),
        )


def cell_of(settings: Settings, site_id: str) -> str:
    """The name of the link that a site uses; its service's site's where nobody shares it."""
    return settings.orchestration.cell or settings.site.id or site_id


def free_memory_mb() -> int:
    """MB that this host could still give to a process."""
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1_000_000
