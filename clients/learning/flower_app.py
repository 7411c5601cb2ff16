"""The ClientApp: a courier between Flower and a site's learning.

It imports no torch: the learning is imported when a message asks for it. In a simulation that is
once a worker process; in a deployment, where every message gets a new process, a roll call costs
nothing. What goes wrong at a site leaves it as the name of an exception type, never as text, which
may quote a prompt; the site keeps the details in its own folder.
"""

import traceback
from collections.abc import Callable
from dataclasses import replace

from flwr.app import Context, Error, Message, RecordDict
from flwr.clientapp import ClientApp

from fl.adapter import Adapter
from fl.errors import FederationError, NetGPTError
from fl.flower_records import (
    SITE_FAILED,
    delivery_records,
    failure_reason,
    read_plan,
    roll_call_records,
    run_settings,
    update_records,
)
from fl.release import Delivery
from fl.rounds import RoundPlan
from fl.settings import Settings
from fl.site import Site
from fl.site_list import federated_sites, site_folder

app = ClientApp()

FAILURE_FILE = "failure.txt"  # in the site's folder: where the last failure happened

Work = Callable[[RoundPlan, Adapter, Site, Settings], RecordDict]


@app.query()
def roll_call(message: Message, context: Context) -> Message:
    """Answer which sites this node hosts."""
    sites = hosted_sites(context, run_settings(context.run_config))
    return Message(roll_call_records(site.id for site in sites), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Carry a plan to a site and its update back."""
    return _carry(message, context, _contribute)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Carry the last release to a site, which settles its personal part beside it."""
    return _carry(message, context, _settle)


def hosted_sites(context: Context, settings: Settings) -> tuple[Site, ...]:
    """In a deployment the site the node is configured for; in a simulation every n-th site."""
    sites = federated_sites(settings)
    config = context.node_config
    if named := config.get("site"):
        return tuple(site for site in sites if site.id == named)
    return sites[int(config["partition-id"]) :: int(config["num-partitions"])]


def _contribute(plan: RoundPlan, release: Adapter, site: Site, settings: Settings) -> RecordDict:
    from clients.learning.contribution import contribute, open_edge_site

    edge_site = open_edge_site(settings, site, plan.federation)
    return update_records(contribute(plan, release, edge_site))


def _settle(plan: RoundPlan, release: Adapter, site: Site, settings: Settings) -> RecordDict:
    from clients.learning.contribution import open_edge_site, settle

    edge_site = open_edge_site(settings, site, plan.federation)
    result = settle(plan, release, edge_site)
    return delivery_records(
        Delivery(
            site_id=site.id,
            release_number=plan.release_number,
            shared_heldout_loss=result.shared_heldout_loss,
            settled_heldout_loss=result.settled_heldout_loss,
            seconds=result.seconds,
        )
    )


def _carry(message: Message, context: Context, work: Work) -> Message:
    """Unpack, let the site work, pack; the outermost catch of a site's work."""
    settings = run_settings(context.run_config)
    if "partition-id" in context.node_config:
        # Sites of a simulation learn side by side, one CPU each.
        settings = replace(settings, threads=1)
    site: Site | None = None
    try:
        site_id, plan, release = read_plan(message.content)
        site = _hosted(site_id, context, settings)
        return Message(work(plan, release, site, settings), reply_to=message)
    except Exception as error:  # noqa: BLE001 - Flower would send the text of whatever is raised
        if site is not None:
            _keep_failure(settings, site, error)
        return Message(Error(code=SITE_FAILED, reason=failure_reason(error)), reply_to=message)


def _hosted(site_id: str, context: Context, settings: Settings) -> Site:
    for site in hosted_sites(context, settings):
        if site.id == site_id:
            return site
    raise FederationError(f"This node does not host site {site_id!r}.")


def _keep_failure(settings: Settings, site: Site, error: Exception) -> None:
    """Write where it happened; the text only of our own errors, which quote no prompt."""
    folder = site_folder(settings, site.id)
    folder.mkdir(parents=True, exist_ok=True)
    text = str(error) if isinstance(error, NetGPTError) else "(text left out)"
    frames = "".join(traceback.format_tb(error.__traceback__))
    (folder / FAILURE_FILE).write_text(f"{frames}{type(error).__name__}: {text}\n")
