"""The page of `./run.sh status`: sites, cloud workers, links, releases, queues, the last minute."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from clients.status.now import Now, SiteNow, megabits
from fl.wire.netgpt.v1 import orchestration_pb2 as pb

OLD_S = 60.0  # an advert that is older is shown dim


def page(now: Now) -> Group:
    """Everything, to be printed or kept up to date."""
    parts: list[Table | Text] = [_sites(now), _minutes(now)]
    if now.cloud is None:
        return Group(*parts, Text(f"\ncloud: {now.trouble}", style="yellow"))
    parts.append(_cloud(now.cloud))
    parts.append(_workers(now.cloud))
    if now.cloud.sites:
        parts += [_links(now.cloud), _adverts(now.cloud)]
    return Group(*parts)


def _sites(now: Now) -> Table:
    table = _table("sites of this machine", *("site", "service", "release", "waiting", "learning"))
    for site in now.sites:
        table.add_row(site.id, *_service(site))
    return table


def _minutes(now: Now) -> Table | Text:
    asked = [(site.id, site.minute) for site in now.sites if site.minute is not None]
    if not asked:
        return Text("\nNothing has been asked at these sites in the last minute.")
    table = _table(
        "the last minute of their ledgers",
        *("site", "requests", "failed", "p50 s", "p99 s", "kB up", "kB down", "by"),
    )
    for name, minute in asked:
        table.add_row(
            name,
            str(minute.requests),
            str(minute.failed),
            f"{minute.p50_s:.2f}",
            f"{minute.p99_s:.2f}",
            f"{minute.bytes_up / 1000:.1f}",
            f"{minute.bytes_down / 1000:.1f}",
            minute.modes,
        )
    return table


def _service(site: SiteNow) -> tuple[str, str, str, str]:
    service = site.service
    if service is None:
        return "none", site.shelf or "-", "-", "-"
    learning = service.learning if service.HasField("learning") else None
    serves = (
        f"{service.federation}/{service.release_number}"
        if service.HasField("release_number")
        else "-"
    )
    doing = (
        f"{learning.kind}, round {learning.round_number}, step {learning.step} of {learning.steps}"
        if learning
        else "-"
    )
    return "runs", serves, str(service.waiting), doing


def _cloud(cloud: pb.ShowResponse) -> Text:
    model = cloud.model or "loading or shutting down"
    return Text(
        f"\ncloud: {model}, release {cloud.cloud_release}; admission {cloud.admission}: "
        f"{cloud.to_cloud} to the cloud, {cloud.to_edge} to their sites, {cloud.shed} shed"
    )


def _workers(cloud: pb.ShowResponse) -> Table:
    table = _table(
        "cloud workers",
        *("worker", "state", "running", "waiting", "promised"),
        *("ms a token", "each more", "restarts"),
    )
    for worker in cloud.workers:
        table.add_row(
            worker.name,
            "runs" if worker.alive else "away",
            str(worker.running),
            str(worker.waiting),
            str(worker.promised),
            f"{1000 * (worker.step_s + worker.row_s):.2f}",
            f"{1000 * worker.row_s:.2f}",
            str(worker.restarts),
        )
    return table


def _links(cloud: pb.ShowResponse) -> Table:
    table = _table(
        "links, as their sites found them",
        *("site", "link", "RTT ms", "Mbit/s up", "Mbit/s down", "s ago"),
    )
    for shown in cloud.sites:
        advert = shown.advert
        link = advert.link if advert.HasField("link") else None
        table.add_row(
            advert.site_id,
            advert.cell,
            f"{1000 * link.rtt_s:.0f}" if link else "-",
            megabits(link.up_bytes_s) if link else "-",
            megabits(link.down_bytes_s) if link else "-",
            f"{shown.age_s:.0f}",
            style=_style(shown),
        )
    return table


def _adverts(cloud: pb.ShowResponse) -> Table:
    table = _table(
        "all sites, as they advertise themselves",
        *("site", "release", "cores", "MB", "tokens/s", "waiting", "s ago"),
    )
    for shown in cloud.sites:
        advert = shown.advert
        table.add_row(
            advert.site_id,
            f"{advert.federation}/{advert.release_number}" if advert.federation else "-",
            str(advert.cores),
            f"{advert.memory_mb:,}",
            f"{_tokens_s(advert):.0f}",
            str(advert.waiting),
            f"{shown.age_s:.0f}",
            style=_style(shown),
        )
    return table


def _tokens_s(advert: pb.SiteAdvert) -> float:
    """Of a prompt that is alone there."""
    token_s = advert.step_s + advert.row_s
    return 1 / token_s if token_s else 0.0


def _style(shown: pb.SiteShown) -> str:
    return "dim" if shown.age_s > OLD_S else ""


def _table(title: str, *columns: str) -> Table:
    table = Table(title=f"\n{title}", title_justify="left", title_style="bold", box=None)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", no_wrap=True)
    return table
