"""A federation from the cloud's side: our own round loop over Flower's Grid.

    roll call -> plan -> send -> admit -> gate -> aggregate -> release -> report
    at the end: judge the last release -> deliver the current one

Flower's Strategy has no start round, ends a run at the first odd reply and keeps all updates at
once. This loop starts at the newest release + 1, refuses a bad update and goes on, and adds up
updates while other sites still learn.

A round's release is a candidate. The next round starts from it, and its sites judge it on the way;
only what makes no site worse becomes current. What has been reached stands on the disk before
anything depends on it, so a run that is killed anywhere goes on to the same bytes.
"""

import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

from flwr.serverapp import Grid

from fl.adapter import Adapter, digest, moved_by
from fl.aggregation import Aggregated, method
from fl.aggregation.server_optimizer import server_optimizer
from fl.errors import FederationError, NetGPTError
from fl.release import AdapterRelease, Verdict
from fl.round_plan import rate_share, round_plan
from fl.rounds import RoundPlan, RoundReport
from fl.settings import Settings
from server.federation import optimizer_state
from server.federation.collect import Collected, collect
from server.federation.deliver import deliver
from server.federation.federation import Federation, open_federation
from server.federation.judging import judge_last
from server.federation.plan import LEARNING_RANK
from server.federation.report import describe, kept_back, reasons, with_drops
from server.federation.round_log import State
from server.federation.start import start
from server.releases import lock

STOPPED = "it was stopped before its end"

_PAUSE_SHARE, _LONGEST_PAUSE_S = 0.05, 10.0  # of the deadline, before another attempt
_log = logging.getLogger("flwr.netgpt")  # below Flower's own, so that `flwr run --stream` shows it


@dataclass(frozen=True, kw_only=True)
class Abandoned:
    """An attempt at a round that made no release."""

    reason: str
    candidate_refused: bool = False  # by the gate: the next attempt starts from another release
    candidate_useless: bool = False  # sites answered, but none could learn from it


def federate(grid: Grid, settings: Settings, *, folder: Path, run_id: str) -> AdapterRelease:
    """Carry out the rounds that are missing in `folder`, deliver the current release, return it.

    Raises ReleaseError when another cloud works on `folder`, and FederationError when a round is
    abandoned too often. Whatever happens, status.json ends in a terminal state.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock(folder / "releases"):
        federation = open_federation(grid, settings, folder=folder, run_id=run_id)
        end: State = "failed"
        said = ""
        try:
            # 1. Where are we? The disk says which round comes next.
            start(federation)
            # 2. Rounds, each of which makes one release.
            while (done := federation.newest().round_number) < settings.rounds:
                play_round(federation, done + 1)
                federation.progress.finished_rounds(done + 1)
            # 3. The last release is judged as well, and what is current goes to every site.
            judge_last(federation)
            current = federation.releases.current()
            missed = deliver(federation, current)
            # 4. What was kept back, and why?
            kept = kept_back(federation.releases, federation.verdicts)
            said = " ".join(sentence for sentence in (missed, kept) if sentence)
            _log.info("release %d is current. %s", current.number, said)
            end = "completed"
            return current
        except NetGPTError as error:
            said = str(error)
            raise
        except (KeyboardInterrupt, SystemExit):
            said = STOPPED
            raise
        finally:
            federation.progress.end(end, said)
            if federation.sink is not None:
                federation.sink.close()


def play_round(federation: Federation, number: int) -> AdapterRelease:
    """Make round `number`'s release; an attempt that fails is said and tried again.

    Raises FederationError after federation.attempts. A candidate that the gate refuses counts as an
    attempt, but never as the last one: the current release has not been tried then.
    """
    limits = federation.settings.federation
    attempt, from_current = 0, False
    while True:
        attempt += 1
        made = attempt_round(federation, number, attempt=attempt, from_current=from_current)
        if isinstance(made, AdapterRelease):
            return made
        said = (
            f"Round {number} was abandoned (attempt {attempt} of {limits.attempts}): {made.reason}."
        )
        federation.progress.say(said)
        if attempt >= limits.attempts and not made.candidate_refused:
            raise FederationError(said)
        from_current = from_current or made.candidate_useless
        if not made.candidate_refused:
            # What failed all sites at once may pass, for instance services that start again.
            time.sleep(min(_PAUSE_SHARE * limits.deadline_s, _LONGEST_PAUSE_S))


def attempt_round(
    federation: Federation, number: int, *, attempt: int, from_current: bool
) -> AdapterRelease | Abandoned:
    """One attempt at a round: the release it made, or why it made none.

    `from_current` leaves the candidate aside, from which an earlier attempt got nothing.
    """
    settings, releases = federation.settings, federation.releases
    started = time.monotonic()

    # 1. Start from the candidate, so that sites judge it while they are asked anyway.
    current, candidate = releases.current(), federation.candidate()
    first = current if candidate is None or from_current else candidate

    # 2. Plan, one for all sites; 3. collect what they learn.
    plan = round_plan(
        settings,
        first,
        current_release=current.number,
        round_number=number,
        steps=settings.learning.local_steps,
    )
    got = collect(federation, first, plan, attempt=attempt)
    if len(got.fresh) < federation.quorum:
        return Abandoned(
            reason=f"{len(got.fresh)} of {len(federation.sites)} sites were admitted, "
            f"{federation.quorum} are needed. Left out: {reasons(got.outcomes.values())}",
            candidate_useless=first is candidate and got.answered > 0 and not got.fresh,
        )

    # 4. The gate, before anything is built on the candidate.
    if candidate is not None:
        verdict = _pass_gate(federation, candidate, current, got, judged=first is candidate)
        federation.show_releases()
        if verdict is not None and not verdict.passed and first is candidate:
            return Abandoned(reason=verdict.reason, candidate_refused=True)

    # 5. Aggregate; 6. release, its optimiser state and its report on the disk before it.
    shared, combined = _aggregate(federation, first, plan, got)
    losses = [got.outcomes[site].heldout_loss for site in got.fresh]
    report = RoundReport(
        round_number=number,
        release_number=releases.next_number(),
        method=settings.method,
        outcomes=with_drops(got.outcomes.values(), combined.dropped),
        mean_heldout_loss=fmean(losses),
        aggregation_error=combined.error,
        aggregation_seconds=got.aggregation_s,
        seconds=time.monotonic() - started,
        attempt=attempt,
        late=federation.stragglers.tell(),
        verdict=federation.verdicts.of(releases.numbers()[-1]),
        exact=_exact(settings),
        telemetry=got.observer.finish(shared),
        shared_rank=shared.spec.rank,
    )
    federation.log.prepare(report)
    made = releases.publish(
        shared,
        round_number=number,
        method=settings.method,
        parent_digest=digest(first.shared),
        metrics={
            "sites": len(losses),
            "mean_heldout_loss": fmean(losses),
            LEARNING_RANK: settings.learning.rank,
        },
    )
    federation.show_releases()

    # 7. Report.
    report = replace(report, release_number=made.number, seconds=time.monotonic() - started)
    federation.log.append(report)
    if federation.sink is not None:
        federation.sink.write(report)
    _log.info("round %d: %s", number, describe(report))
    return made


def _exact(settings: Settings) -> str:
    """What the reports say of the method; an optimiser goes on from its mean."""
    said, optimizer = method(settings.method).exact, settings.federation.server_optimizer
    return said if optimizer == "none" else f"{said}, before {optimizer}"


def _pass_gate(
    federation: Federation,
    candidate: AdapterRelease,
    current: AdapterRelease,
    got: Collected,
    *,
    judged: bool,
) -> Verdict | None:
    """The verdict on the candidate; None while it stays one."""
    if judged:
        return federation.gate.decide(candidate.number, current.number, got.judgements)
    return federation.gate.keep_back(
        candidate.number, current.number, "sites could learn from the current release, not from it"
    )


def _aggregate(
    federation: Federation, first: AdapterRelease, plan: RoundPlan, got: Collected
) -> tuple[Adapter, Aggregated]:
    """(the new shared part, how it came about); keeps the optimiser's state on the disk."""
    limits, folder = federation.settings.federation, federation.optimizer_folder
    tick = time.monotonic()
    federation.stragglers.use(got.combine, plan, got.admission, fresh=got.fresh)
    combined = got.combine.finish()
    shared = combined.shared
    if limits.server_optimizer != "none" and combined.delta is not None:
        optimizer = server_optimizer(
            limits.server_optimizer,
            limits.server_learning_rate * rate_share(federation.settings, plan.round_number),
        )
        if state := optimizer_state.load(folder, release_number=first.number):
            optimizer.load(state)
        shared = moved_by(first.shared, optimizer.step(combined.delta))
        # After refused candidates a round starts from the current release again.
        optimizer_state.save(
            folder,
            optimizer.state(),
            release_number=federation.releases.next_number(),
            keep=[federation.releases.current().number],
        )
    got.aggregation_s += time.monotonic() - tick
    return shared, combined
