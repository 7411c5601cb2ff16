"""The end of a federation: every site gets the last release and settles its personal part."""

from flwr.serverapp import Grid

from fl.errors import FederationError, UpdateRefused
from fl.flower_records import SETTLE, read_delivery
from fl.release import AdapterRelease, Delivery
from fl.rounds import RoundPlan
from server.federation.exchange import exchange
from server.federation.plan import messages
from server.federation.progress import Progress
from server.federation.roll_call import RollCall


def deliver(
    grid: Grid,
    release: AdapterRelease,
    plan: RoundPlan,
    *,
    roll_call: RollCall,
    progress: Progress,
) -> tuple[Delivery, ...]:
    """Deliver `release` to every site that is there; return what they answered.

    A site that fails keeps what it had and is named in the status; only when no site at all got the
    release has the run failed.
    """
    progress.begin("delivery")
    hosts = roll_call.hosts(enough=1, deadline_s=plan.deadline_s)
    failures = dict.fromkeys(roll_call.sites, "no node hosts it")
    deliveries: dict[str, Delivery] = {}
    sent = messages(SETTLE, plan, release.shared, hosts)
    for answer in exchange(grid, sent, deadline_s=plan.deadline_s):
        try:
            delivery = read_delivery(answer.records())
            if delivery.site_id != answer.receiver or delivery.release_number != release.number:
                raise UpdateRefused("it confirmed another site or release")
        except UpdateRefused as refused:
            failures[answer.receiver] = str(refused)
        else:
            deliveries[answer.receiver] = delivery
            del failures[answer.receiver]
        progress.heard()
    if failures:
        missing = ", ".join(f"{site} ({reason})" for site, reason in failures.items())
        said = f"Release {release.number} did not reach {missing}."
        if not deliveries:
            raise FederationError(said)
        progress.say(said)
    return tuple(deliveries[site] for site in roll_call.sites if site in deliveries)
