"""What is known at this moment of the sites of this machine and of the cloud they ask."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from clients.adapter_shelf import shelves_in_use
from clients.asking.cloud_channel import CloudChannel
from clients.edge_service.asking_client import service_status
from clients.ledger.entry import Entry
from clients.ledger.journal import entries, ledger_file
from clients.ledger.summary import percentile
from clients.orchestration.cloud_desk import CloudDesk
from fl.errors import GenerationError
from fl.settings import Settings
from fl.site import Site
from fl.site_list import federated_sites
from fl.wire.netgpt.v1 import edge_pb2, orchestration_pb2

MINUTE_S = 60.0
_FINE = ("stop", "length")


@dataclass(frozen=True, kw_only=True)
class Minute:
    """The ledger's last minute at one site; None where nothing was asked."""

    requests: int
    failed: int
    p50_s: float
    p99_s: float
    bytes_up: int
    bytes_down: int
    modes: str  # how many by each mode, as in "synergy 3, edge 1"


@dataclass(frozen=True, kw_only=True)
class SiteNow:
    """A site of this machine."""

    id: str
    service: edge_pb2.GetStatusResponse | None  # None where none runs
    shelf: str  # the release on its shelf, as in 002/4; "" for none
    minute: Minute | None


@dataclass(frozen=True, kw_only=True)
class Now:
    """All of it."""

    sites: tuple[SiteNow, ...]
    cloud: orchestration_pb2.ShowResponse | None
    trouble: str  # why there is no cloud to be seen


def look(settings: Settings, channel: CloudChannel, *, at: float) -> Now:
    """Look once; `at` is seconds since 1970, UTC. A cloud that is away is no error."""
    cloud, trouble = None, ""
    try:
        cloud = CloudDesk(channel).show()
    except GenerationError as error:
        trouble = str(error)
    sites = tuple(_site(settings, site, at=at) for site in federated_sites(settings))
    return Now(sites=sites, cloud=cloud, trouble=trouble)


def last_minute(found: Sequence[Entry]) -> Minute | None:
    """A summary of entries that are all of the last minute."""
    if not found:
        return None
    seconds = sorted(entry.total_seconds for entry in found)
    modes = sorted({entry.mode for entry in found})
    return Minute(
        requests=len(found),
        failed=sum(entry.outcome not in _FINE for entry in found),
        p50_s=percentile(seconds, 0.5),
        p99_s=percentile(seconds, 0.99),
        bytes_up=sum(entry.bytes_up for entry in found),
        bytes_down=sum(entry.bytes_down for entry in found),
        modes=", ".join(f"{mode} {sum(e.mode == mode for e in found)}" for mode in modes),
    )


def _site(settings: Settings, site: Site, *, at: float) -> SiteNow:
    ledger = entries(ledger_file(settings, site.id))
    recent = [entry for entry in ledger if at - MINUTE_S < entry.at <= at + 1.0]
    return SiteNow(
        id=site.id,
        service=service_status(settings, site.id),
        shelf=_shelf(settings, site.id),
        minute=last_minute(recent),
    )


def _shelf(settings: Settings, site_id: str) -> str:
    for shelf in shelves_in_use(settings, site_id):
        if (number := shelf.current_number()) is not None:
            return f"{shelf.federation}/{number}"
    return ""


def megabits(bytes_s: float) -> str:
    """Bytes a second as people know them."""
    return "-" if bytes_s == 0 or math.isinf(bytes_s) else f"{bytes_s / 125_000:.1f}"
