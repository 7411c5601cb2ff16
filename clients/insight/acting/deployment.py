"""What the simulator works on, from settings and, where the cloud answers, from its book."""

from dataclasses import replace

from clients.asking.cloud_channel import CloudChannel, service_address
from clients.insight.acting.simulator import Simulator
from clients.insight.acting.standing import CLOUD, Deployment
from clients.orchestration.cloud_desk import CloudDesk
from clients.routing.threshold import Usual
from fl.errors import GenerationError, SettingsError
from fl.link.profiles import profile
from fl.link.speed import LinkSpeed
from fl.network.state_file import network_folder
from fl.orchestration.batch_server import Pace
from fl.settings import Settings
from fl.site_list import federated_sites

LOOK_S = 2.0  # a cloud that takes longer to show its book is not waited for


def simulator_of(settings: Settings) -> Simulator:
    """A simulator of the deployment as far as it can be seen. Raises SettingsError."""
    deployment, live = as_the_cloud_sees_it(deployment_of(settings), settings)
    seen = "the cloud's book" if live else "the settings, for no cloud answers"
    return Simulator(network_folder(settings), deployment, seen=seen)


def deployment_of(settings: Settings) -> Deployment:
    """As the settings say: every link as link.profile, the workers at their first pace.

    Raises SettingsError for acting.names that name no site.
    """
    its, sites = settings.orchestration, [site.id for site in federated_sites(settings)]
    workers = settings.engine.workers if settings.engine.kind == "workers" else 1
    count = len(workers) if isinstance(workers, list) else workers
    pace = Pace(step_s=its.step_ms / 1000, row_s=its.row_ms / 1000, rows=settings.engine.batch)
    usual, kind = Usual(), profile(settings.link.profile)
    cell_of = {site: its.cell or site for site in sites}
    speed = LinkSpeed(
        rtt_s=kind.rtt_ms / 1000,
        up_bytes_s=kind.up_mbit_s * 125_000 or float("inf"),
        down_bytes_s=kind.down_mbit_s * 125_000 or float("inf"),
    )
    return Deployment(
        cell_of=cell_of,
        links=dict.fromkeys(cell_of.values(), speed),
        workers={f"w{number}": pace for number in range(1, count + 1)},
        admission=its.admission,
        slack=its.slack,
        deadline_s=its.deadline_s,
        mode=settings.mode,
        tokens=0.75 * settings.asking.answer_tokens,
        bytes_up=usual.bytes_up,
        bytes_down=usual.bytes_down,
        names=_names(settings, sites),
    )


def as_the_cloud_sees_it(deployment: Deployment, settings: Settings) -> tuple[Deployment, bool]:
    """With cells, links and paces as the cloud's book has them; False where it does not answer."""
    try:
        with CloudChannel(service_address(settings), LOOK_S) as channel:
            shown = CloudDesk(channel).show()
    except GenerationError:
        return deployment, False
    cell_of, links = dict(deployment.cell_of), dict(deployment.links)
    for advert in (site.advert for site in shown.sites):
        if advert.site_id in cell_of:
            cell_of[advert.site_id] = advert.cell
            if advert.HasField("link"):
                links[advert.cell] = LinkSpeed(
                    rtt_s=advert.link.rtt_s,
                    up_bytes_s=advert.link.up_bytes_s or float("inf"),
                    down_bytes_s=advert.link.down_bytes_s or float("inf"),
                )
            else:
                links.setdefault(advert.cell, deployment.links[deployment.cell_of[advert.site_id]])
    rows = settings.engine.batch
    workers = {
        worker.name: Pace(step_s=worker.step_s, row_s=worker.row_s, rows=rows)
        for worker in shown.workers
        if worker.alive
    }
    return (
        replace(
            deployment,
            cell_of=cell_of,
            links=links,
            workers=workers or deployment.workers,
            admission=shown.admission,
        ),
        True,
    )


def _names(settings: Settings, sites: list[str]) -> dict[str, str]:
    names = dict[str, str]()
    for pair in settings.acting.names:
        said, _, site = pair.partition("=")
        if site.strip() not in (*sites, CLOUD):
            raise SettingsError(
                f"acting.names gives {site.strip()!r}, which is neither {CLOUD} nor one of "
                f"{', '.join(sites)}."
            )
        names[" ".join(said.lower().split())] = site.strip()
    return names
