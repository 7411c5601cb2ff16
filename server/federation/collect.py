"""A round's updates: who is there is asked, what comes back is admitted and added up at once."""

import time
from dataclasses import dataclass, field

from fl.aggregation import Aggregator, aggregator
from fl.aggregation.robust import robust
from fl.aggregation.telemetry import Observer
from fl.aggregation.turn import Turn
from fl.errors import UpdateRefused
from fl.flower_records import CONTRIBUTE
from fl.release import AdapterRelease, Judgement
from fl.rounds import RoundPlan, SiteOutcome
from fl.settings import Settings
from server.federation.admission import Admission, open_update
from server.federation.exchange import Answer
from server.federation.federation import Federation
from server.federation.plan import letters
from server.federation.report import admitted, left_out


@dataclass(kw_only=True)
class Collected:
    """What an attempt at a round has got."""

    outcomes: dict[str, SiteOutcome]
    combine: Aggregator  # holds the admitted updates, added up
    observer: Observer  # of the same, for the report
    admission: Admission
    judgements: dict[str, Judgement] = field(default_factory=dict)  # of admitted sites
    answered: int = 0  # sites that sent something, admitted or not
    aggregation_s: float = 0.0

    @property
    def fresh(self) -> list[str]:
        """Sites whose update was admitted."""
        return [site for site, outcome in self.outcomes.items() if outcome.admitted]


def collect(
    federation: Federation, release: AdapterRelease, plan: RoundPlan, *, attempt: int
) -> Collected:
    """Ask all sites that are there and not at work on another plan, until the plan's deadline."""
    limits, exchange, progress = (
        federation.settings.federation,
        federation.exchange,
        federation.progress,
    )

    # 1. Roll call: which node hosts which site?
    progress.begin(f"round {plan.round_number}: roll call", attempt=attempt)
    hosts = federation.roll_call.hosts(
        enough=federation.quorum,
        deadline_s=plan.deadline_s,
        busy=lambda there: exchange.busy(there, plan),
    )
    busy = exchange.busy(hosts, plan)
    asked = [site for site in hosts if site not in busy]
    outcomes = {site: left_out(site, "no node hosts this site") for site in federation.sites}
    for site, round_number in busy.items():
        outcomes[site] = left_out(site, f"still at work on round {round_number}")
    got = Collected(
        outcomes=outcomes,
        combine=_combiner(federation.settings, release, plan),
        observer=Observer(release.shared, _turn(plan), most=limits.telemetry_sites),
        admission=Admission(plan, release.shared, expected_sites=asked, settings=limits),
    )

    # 2. Send plan and release; take the answers as they come.
    progress.begin(f"round {plan.round_number}", attempt=attempt)
    sent = letters(CONTRIBUTE, plan, release, asked)
    for answer in exchange.ask(sent, hosts, deadline_s=plan.deadline_s):
        if answer.late:
            federation.stragglers.take(answer, release.shared)
        else:
            _take(got, answer, release)
            progress.heard()
    return got


def _take(got: Collected, answer: Answer, release: AdapterRelease) -> None:
    """Admit an update, add it up, and forget it."""
    site, bytes_down = answer.receiver, answer.bytes_down
    got.answered += answer.content is not None
    try:
        update = open_update(answer.records(), release.shared, answer.plan)
        norm = got.admission.admit(update, addressed_to=site)
    except UpdateRefused as refused:
        got.outcomes[site] = left_out(site, str(refused), bytes_down=bytes_down)
        return
    tick = time.monotonic()
    got.combine.add(update)
    got.observer.add(update)
    got.aggregation_s += time.monotonic() - tick
    got.outcomes[site] = admitted(
        update, norm=norm, bytes_down=bytes_down, bytes_up=answer.bytes_up
    )
    if update.judgement is not None:
        got.judgements[site] = update.judgement


def _combiner(settings: Settings, release: AdapterRelease, plan: RoundPlan) -> Aggregator:
    """The method's aggregator, behind the robust rule where one is set."""
    limits = settings.federation
    combine = aggregator(
        settings.method,
        release.shared,
        round_number=plan.round_number,
        rank=plan.rank,
        rank_limit=settings.learning.rank_limit,
        measure_error=limits.measure_error,
    )
    if limits.robust == "none":
        return combine
    return robust(
        combine,
        limits.robust,
        release.shared,
        _turn(plan),
        bad=limits.robust_bad,
        norm_bound=limits.robust_norm,
    )


def _turn(plan: RoundPlan) -> Turn:
    return Turn(trains=plan.trains, sends=plan.sends, fresh=plan.fresh)
