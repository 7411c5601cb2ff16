"""All by which people at a site are answered: corridors, HTTP, caches, forecasts and adverts.

The first site is the service's own; the others are answered for as well (edge.hosts).
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from clients.edge_model import EdgeModel
from clients.edge_service.by_products import ByProducts
from clients.edge_service.corridor import Corridor
from clients.edge_service.hosted_sites import HostedSites
from clients.edge_service.http_backend import EdgeBackend
from clients.edge_service.http_listener import LARGEST_BODY, http_keys
from clients.edge_service.model_owner import MOST_TOGETHER, ModelOwner
from clients.edge_service.profile_routes import ProfileRoutes
from clients.edge_service.request_ledger import RequestLedger
from clients.edge_service.serving import Say, Serving
from clients.edge_service.shared_line import Lines
from clients.edge_service.site_routing import SiteRouting, meter_of
from clients.edge_service.site_rules import SiteRules
from clients.insight.acting.persistence import Persistence
from clients.insight.acting.prewarm import Outlook
from clients.insight.acting.site_cache import Keeping, SiteCache
from clients.orchestration.advertising import Advertising, cell_of
from clients.orchestration.cloud_desk import CloudDesk
from clients.orchestration.own_pace import OwnPace
from clients.orchestration.placing import Placing
from clients.profiles.store import profiles_of
from clients.workflow.workflow import Workflow
from fl.network.state_file import NetworkRules, network_folder
from fl.openai_api.gateway import Gateway
from fl.service_metrics import ServiceMetrics
from fl.settings import Settings
from fl.site import Site

Follower = tuple[Callable[[threading.Event], None], str]  # runs until stopped, and its name


@dataclass(frozen=True, kw_only=True)
class Answering:
    """Put together; nothing runs yet."""

    corridor: Corridor  # of the service's own site
    backend: EdgeBackend  # to be closed
    gateway: Gateway
    outlook: Outlook
    followers: Sequence[Follower]


def answering(
    settings: Settings,
    sites: Sequence[Site],
    *,
    owner: ModelOwner,
    model: EdgeModel,
    serving: Serving,
    by_products: ByProducts,
    lines: Lines,
    workflow: Workflow,
    token: str,
    say: Say,
) -> Answering:
    """`serving` is of the first of the sites. Raises ActionError for rules that are damaged."""
    site, others = sites[0], sites[1:]
    # 1. What is expected, what people of the other sites are served with, and what is counted.
    outlook = Outlook(settings, [one.id for one in sites], by_products.forecast, say=say)
    hosted = HostedSites(settings, others, model, say, outlook=outlook)
    served = {site.id: serving, **hosted.serving}
    metrics = ServiceMetrics("edge")
    metrics.gauges({"waiting": lambda: owner.waiting})
    ledger = RequestLedger(
        settings,
        line=lines.shared,
        count_tokens=lambda text: len(model.token_ids(text)),
        say=say,
    )
    meter = meter_of(settings, lines.aside, site.id)
    pace, desk = OwnPace(settings, rows=MOST_TOGETHER), CloudDesk(lines.channel)
    owner.on_turn = pace.turn_over
    # 2. What is kept of requests.
    profiles = {one.id: profiles_of(settings, one.id) for one in sites}
    caches = {
        one.id: SiteCache(settings, Persistence(), profiles[one.id])
        for one in sites
        if settings.cache.entries
    }
    keeping = Keeping(caches, every_s=settings.edge.refresh_s)
    if caches:
        metrics.gauges(keeping.figures())
    # 3. The way of a request, for each site.
    cell, rules = cell_of(settings, site.id), SiteRules(NetworkRules(network_folder(settings)))
    corridors = {
        one.id: Corridor(
            settings,
            one,
            workflow=workflow,
            owner=owner,
            serving=served[one.id],
            channel=lines.channel,
            metrics=metrics,
            ledger=ledger,
            router=SiteRouting(
                settings, one, owner=owner, serving=served[one.id], meter=meter
            ).router,
            pace=pace,
            placing=Placing(settings, one.id, cell=cell, desk=desk, pace=pace, meter=meter),
            rules=rules,
            cache=caches.get(one.id),
        )
        for one in sites
    }
    # 4. HTTP, and what the cloud is told.
    backend = EdgeBackend(
        settings, corridors, fingerprint=model.base.fingerprint, channel=lines.channel
    )
    gateway = Gateway(
        backend,
        keys=http_keys(settings, token),
        metrics=metrics,
        largest_body=LARGEST_BODY,
        on_error=lambda error_id, kind, frames: say(f"error {error_id}: {kind}\n{frames}"),
        guard_metrics=True,
        resources=[
            *ProfileRoutes(profiles, on_changed=keeping.changed).resources(),
            *by_products.resources(),
        ],
    )
    advertising = Advertising(
        settings,
        CloudDesk(lines.aside),
        serving=served,
        meter=meter,
        pace=pace,
        waiting=lambda: owner.waiting,
        say=say,
        forecast_per_s=outlook.cloud_per_s,
        hear=rules.hear,
    )
    return Answering(
        corridor=corridors[site.id],
        backend=backend,
        gateway=gateway,
        outlook=outlook,
        followers=[
            (hosted.run, "hosted sites"),
            (advertising.run, "adverts"),
            (keeping.run, "cache"),
        ],
    )
