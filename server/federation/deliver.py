"""The end of a federation: every site gets the current release and settles its personal part."""

from fl.errors import FederationError, UpdateRefused
from fl.flower_records import SETTLE, read_delivery
from fl.release import AdapterRelease, Delivery
from fl.round_plan import settling_plan
from server.federation.federation import Federation
from server.federation.plan import letters


def deliver(federation: Federation, release: AdapterRelease) -> str:
    """Deliver `release` to every site that is there; return a sentence about those it missed.

    A site that fails keeps what it had; only when no site at all got the release has the run
    failed. Its personal part settles beside the release, from where the last round left it.
    """
    settings = federation.settings
    federation.progress.begin("delivery")
    plan = settling_plan(
        settings,
        release,
        current_release=release.number,
        round_number=federation.newest().round_number,
    )
    hosts = federation.roll_call.hosts(enough=1, deadline_s=plan.deadline_s)
    failures = dict.fromkeys(federation.sites, "no node hosts it")
    deliveries: dict[str, Delivery] = {}
    sent = letters(SETTLE, plan, release, hosts)
    for answer in federation.exchange.ask(sent, hosts, deadline_s=plan.deadline_s):
        if answer.late:
            continue
        try:
            delivery = read_delivery(answer.records())
            if delivery.site_id != answer.receiver or delivery.release_number != release.number:
                raise UpdateRefused("it confirmed another site or release")
        except UpdateRefused as refused:
            failures[answer.receiver] = str(refused)
        else:
            deliveries[answer.receiver] = delivery
            del failures[answer.receiver]
        federation.progress.heard()
    said = ""
    if failures:
        missing = ", ".join(f"{site} ({reason})" for site, reason in failures.items())
        said = f"Release {release.number} did not reach {missing}."
        if not deliveries:
            raise FederationError(said)
        federation.progress.say(said)
    federation.log.keep_deliveries(
        [deliveries[site] for site in federation.sites if site in deliveries]
    )
    return said
