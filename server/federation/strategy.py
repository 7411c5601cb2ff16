"""A federation from the cloud's side: our own round loop over Flower's Grid.

    roll call -> plan -> send -> admit -> aggregate -> release -> report; at the end deliver

Flower's Strategy has no start round, ends a run at the first odd reply and keeps all updates at
once. This loop starts at the newest release + 1, refuses a bad update and goes on, and adds up
updates while other sites still learn.
"""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from flwr.serverapp import Grid

from fl.adapter import add, digest, initial_adapter
from fl.aggregation import aggregator
from fl.base_model import base_folder, read_base
from fl.errors import FederationError, NetGPTError, UpdateRefused
from fl.flower_records import CONTRIBUTE, read_update
from fl.release import AdapterRelease
from fl.rounds import RoundReport, SiteOutcome
from fl.settings import Settings
from fl.site_list import federated_sites
from server.federation.admission import Admission
from server.federation.deliver import deliver
from server.federation.exchange import exchange
from server.federation.plan import messages, round_plan, shared_spec
from server.federation.progress import Progress
from server.federation.report import admitted, describe, left_out, reasons
from server.federation.roll_call import RollCall
from server.federation.round_log import RoundLog, State
from server.releases import Releases

_ATTEMPTS = 2  # a round without quorum is abandoned and tried once more
_log = logging.getLogger("flwr.netgpt")  # below Flower's own, so that `flwr run --stream` shows it


@dataclass(frozen=True, kw_only=True)
class Federation:
    """What a run works with. What it has reached stands in `releases` and `log`."""

    name: str
    settings: Settings
    sites: tuple[str, ...]
    grid: Grid
    roll_call: RollCall
    releases: Releases
    log: RoundLog
    progress: Progress

    @property
    def quorum(self) -> int:
        """How many admitted updates a release needs."""
        return max(1, math.ceil(self.settings.federation.quorum * len(self.sites)))


def federate(grid: Grid, settings: Settings, *, folder: Path, run_id: str) -> AdapterRelease:
    """Carry out the rounds that are missing in `folder`, deliver the last release, return it.

    Raises FederationError when a round misses its quorum twice. Whatever happens, status.json ends
    in a terminal state.
    """
    sites = tuple(site.id for site in federated_sites(settings))
    folder.mkdir(parents=True, exist_ok=True)
    log = RoundLog(folder)
    federation = Federation(
        name=folder.name,
        settings=settings,
        sites=sites,
        grid=grid,
        roll_call=RollCall(grid, sites),
        releases=Releases(folder / "releases"),
        log=log,
        progress=Progress(log, run_id=run_id, rounds=settings.rounds, sites=len(sites)),
    )
    end: State = "failed"
    why = ""
    try:
        # 1. Where are we? The newest release says which round comes next.
        release = starting_release(federation)
        federation.progress.finished_rounds(release.round_number)
        # 2. Rounds, each of which makes one release.
        while release.round_number < settings.rounds:
            release = play_round(federation, release)
            federation.progress.finished_rounds(release.round_number)
        # 3. The last release goes to every site.
        steps = settings.learning.settle_steps
        plan = round_plan(
            settings, release, federation.name, round_number=release.round_number, steps=steps
        )
        log.keep_deliveries(
            deliver(
                grid,
                release,
                plan,
                roll_call=federation.roll_call,
                progress=federation.progress,
            )
        )
        end = "completed"
        return release
    except NetGPTError as error:
        why = str(error)
        raise
    finally:
        federation.progress.end(end, why)


def starting_release(federation: Federation) -> AdapterRelease:
    """The newest release, or release 0, which changes nothing."""
    settings = federation.settings
    base = read_base(base_folder(settings, "edge"), settings.learning.target_modules)
    spec = shared_spec(settings, base)
    newest = federation.releases.newest()
    if newest is None:
        first = initial_adapter(spec, base.layers, seed=settings.seed)
        return federation.releases.publish(
            first, round_number=0, method="initial", parent_digest="", metrics={}
        )
    if newest.shared.spec != spec:
        raise FederationError(
            f"Federation {federation.name} cannot go on: release {newest.number} was made with "
            f"{newest.shared.spec}, these settings ask for {spec}."
        )
    return newest


def play_round(federation: Federation, release: AdapterRelease) -> AdapterRelease:
    """The round after `release`; one that misses its quorum is abandoned and tried once more."""
    number = release.round_number + 1
    said = ""
    for attempt in range(1, _ATTEMPTS + 1):
        outcomes = attempt_round(federation, release, number)
        if isinstance(outcomes, AdapterRelease):
            return outcomes
        count = sum(outcome.admitted for outcome in outcomes)
        said = (
            f"Round {number} was abandoned (attempt {attempt} of {_ATTEMPTS}): {count} of "
            f"{len(outcomes)} sites were admitted, {federation.quorum} are needed. "
            f"Left out: {reasons(outcomes)}."
        )
        federation.progress.say(said)
    raise FederationError(said)


def attempt_round(
    federation: Federation, release: AdapterRelease, number: int
) -> AdapterRelease | tuple[SiteOutcome, ...]:
    """One attempt at a round: the release it made, or the outcomes if the quorum was missed."""
    settings, limits = federation.settings, federation.settings.federation
    started, aggregation_s = time.monotonic(), 0.0
    sent_bytes = release.shared.num_bytes

    # 1. Roll call: which node hosts which site?
    federation.progress.begin(f"round {number}: roll call")
    hosts = federation.roll_call.hosts(enough=federation.quorum, deadline_s=limits.deadline_s)
    outcomes = {site: left_out(site, "no node hosts this site") for site in federation.sites}

    # 2. Plan, one for all sites.
    steps = settings.learning.local_steps
    plan = round_plan(settings, release, federation.name, round_number=number, steps=steps)
    admission = Admission(plan, release.shared, expected_sites=hosts, settings=limits)
    combine = aggregator(settings.method, release.shared, limits.measure_error)

    # 3. Send plan and release; take the answers as they come.
    federation.progress.begin(f"round {number}")
    sent = messages(CONTRIBUTE, plan, release.shared, hosts)
    for answer in exchange(federation.grid, sent, deadline_s=limits.deadline_s):
        site = answer.receiver
        try:
            # 4. Admit,
            update = read_update(answer.records())
            norm = admission.admit(update, addressed_to=site)
        except UpdateRefused as refused:
            outcomes[site] = left_out(site, str(refused), bytes_down=sent_bytes)
        else:
            # 5. aggregate, and forget the update.
            tick = time.monotonic()
            combine.add(update)
            aggregation_s += time.monotonic() - tick
            outcomes[site] = admitted(update, norm=norm, bytes_down=sent_bytes)
        federation.progress.heard()
    losses = [outcome.heldout_loss for outcome in outcomes.values() if outcome.admitted]
    if len(losses) < federation.quorum:
        return tuple(outcomes.values())
    tick = time.monotonic()
    combined = combine.finish()
    shared = add(release.shared, combined.delta)
    aggregation_s += time.monotonic() - tick

    # 6. Release.
    made = federation.releases.publish(
        shared,
        round_number=number,
        method=settings.method,
        parent_digest=digest(release.shared),
        metrics={"sites": len(losses), "mean_heldout_loss": fmean(losses)},
    )

    # 7. Report.
    report = RoundReport(
        round_number=number,
        release_number=made.number,
        method=settings.method,
        outcomes=tuple(outcomes.values()),
        mean_heldout_loss=fmean(losses),
        aggregation_error=combined.error,
        aggregation_seconds=aggregation_s,
        seconds=time.monotonic() - started,
    )
    federation.log.append(report)
    _log.info("round %d: %s", number, describe(report))
    return made
