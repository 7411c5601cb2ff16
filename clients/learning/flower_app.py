"""The ClientApp: a courier between Flower and a site's learning.

It imports no torch. Where the node's configuration names an edge service, messages are carried to
that one; its settings, paths and model are its own business. Else, in a simulation, the site learns
in this process, and the learning is imported when a message asks for it. What goes wrong at a site
leaves it as the name of an exception type, never as text, which may quote a prompt; the site keeps
the details in its own folder.
"""

from dataclasses import replace
from pathlib import Path

from flwr.app import Context, Error, Message
from flwr.clientapp import ClientApp

from clients.edge_service.edge_file import EDGE_KEY
from clients.learning.courier import WorkFailed, carry
from clients.learning.failure import keep_failure
from fl.errors import FederationError
from fl.flower_records import (
    CONTRIBUTE,
    JUDGE,
    SETTLE,
    SITE_FAILED,
    failure_reason,
    read_plan,
    records_from_parts,
    records_to_parts,
    roll_call_records,
)
from fl.run_config import run_settings
from fl.settings import Settings, with_task
from fl.signing import cloud_key
from fl.site import Site
from fl.site_list import federated_sites, site_folder

app = ClientApp()

PATIENCE = 2  # deadlines of a round that a courier waits: a late update may still be of use

Parts = tuple[str, dict[str, bytes]]  # JSON, npy bytes by tensor name


@app.query()
def roll_call(message: Message, context: Context) -> Message:
    """Answer which sites this node hosts."""
    return Message(roll_call_records(hosted_ids(context)), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Carry a plan to a site and its update back."""
    return _carry(message, context, CONTRIBUTE)


@app.evaluate("judge")
def judge(message: Message, context: Context) -> Message:
    """Carry a candidate to a site and its judgement back."""
    return _carry(message, context, JUDGE)


@app.evaluate("settle")
def settle(message: Message, context: Context) -> Message:
    """Carry the last release to a site, which settles its personal part beside it."""
    return _carry(message, context, SETTLE)


def hosted_ids(context: Context) -> list[str]:
    """The one site of an edge service; in a simulation every n-th of the run's sites."""
    config = context.node_config
    if EDGE_KEY in config:
        return [str(config["site"])]
    return [site.id for site in hosted_sites(context, run_settings(context.run_config))]


def hosted_sites(context: Context, settings: Settings) -> tuple[Site, ...]:
    """Sites that learn in this process."""
    sites = federated_sites(settings)
    config = context.node_config
    if named := config.get("site"):
        return tuple(site for site in sites if site.id == named)
    return sites[int(config["partition-id"]) :: int(config["num-partitions"])]


def _carry(message: Message, context: Context, kind: str) -> Message:
    """Unpack, let the site work, pack; the outermost catch of a site's work."""
    work = _through_edge_service if EDGE_KEY in context.node_config else _in_this_process
    try:
        return Message(records_from_parts(*work(kind, message, context)), reply_to=message)
    except WorkFailed as failed:
        reason = failed.reason
    except Exception as error:  # noqa: BLE001 - Flower would send the text of whatever is raised
        reason = failure_reason(error)
    return Message(Error(code=SITE_FAILED, reason=reason), reply_to=message)


def _through_edge_service(kind: str, message: Message, context: Context) -> Parts:
    site_id, plan, _ = read_plan(message.content)
    if site_id not in hosted_ids(context):
        raise FederationError(f"This node does not host site {site_id!r}.")
    return carry(
        Path(str(context.node_config[EDGE_KEY])),
        kind,
        *records_to_parts(message.content),
        run=str(context.run_id),
        patience_s=PATIENCE * plan.deadline_s,
    )


def _in_this_process(kind: str, message: Message, context: Context) -> Parts:
    settings = run_settings(context.run_config)
    if "partition-id" in context.node_config:
        # Sites of a simulation learn side by side, one CPU each.
        settings = replace(settings, threads=1)
    site_id, plan, sent = read_plan(message.content)
    settings = with_task(settings, plan.task)
    site = _hosted(site_id, context, settings)
    try:
        from clients.learning.edge_site import open_edge_site
        from clients.learning.site_work import Work, do_work

        return do_work(
            Work(kind=kind, site_id=site_id, plan=plan, sent=sent),
            lambda: open_edge_site(settings, site, plan.federation),
            cloud_key(settings),
            use_settled=True,  # nobody else says which release is in use here
        )
    except Exception as error:
        keep_failure(site_folder(settings, site.id), error)
        raise


def _hosted(site_id: str, context: Context, settings: Settings) -> Site:
    for site in hosted_sites(context, settings):
        if site.id == site_id:
            return site
    raise FederationError(f"This node does not host site {site_id!r}.")
