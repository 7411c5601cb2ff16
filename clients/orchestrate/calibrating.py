"""From a real run to the numbers of its model: ledgers say what requests took, adverts how fast."""

import statistics
from collections.abc import Sequence
from itertools import chain

from clients.ledger.entry import Entry
from clients.ledger.journal import entries, ledger_file
from clients.orchestrate.deployment import Deployed
from clients.orchestrate.staging import Calibration
from fl.link.profiles import profile
from fl.orchestration.batch_server import Pace
from fl.orchestration.outcomes import Sample
from fl.orchestration.scene import Costs

TALK_BYTES = 250.0  # of a question or a verdict with HTTP/2 around it
LONGEST_BACK_S = 60.0


def measured(
    deployed: Deployed, quiet: Sequence[Entry], samples: Sequence[Sequence[Sample]]
) -> Calibration:
    """What the deployment shows after it was played with.

    `quiet` are requests that were alone on the first link; what they took beyond what the paces
    say is the overhead. `samples` of each replay show how long the killed worker was away.
    """
    shown = deployed.desk.show()
    sites = [site.advert for site in shown.sites]
    workers = [worker for worker in shown.workers if worker.step_s > 0]
    rtt_s = profile(deployed.settings.orchestrate.links[0]).rtt_ms / 1000
    edge = Pace(
        step_s=statistics.fmean(one.step_s for one in sites),
        row_s=statistics.fmean(one.row_s for one in sites),
        rows=16,
    )
    worker = Pace(
        step_s=statistics.fmean(one.step_s for one in workers),
        row_s=statistics.fmean(one.row_s for one in workers),
        rows=deployed.settings.orchestrate.rows,
    )
    played = [one for one in requests_of(deployed) if one.completion_tokens]
    at_cloud = [one for one in played if one.mode == "synergy"]
    enriched = tuple(one.enriched_tokens for one in played)
    answers = tuple(one.completion_tokens for one in played)
    return Calibration(
        edge=edge,
        worker=worker,
        costs=Costs(
            enriched_tokens=statistics.fmean(enriched),
            answer_tokens=statistics.fmean(answers),
            bytes_up=statistics.fmean(one.bytes_up for one in at_cloud),
            bytes_down=statistics.fmean(one.bytes_down for one in at_cloud),
            talk_bytes=TALK_BYTES,
            overhead_s=overhead_s(quiet, edge, worker, rtt_s=rtt_s),
        ),
        enriched_tokens=enriched,
        answer_tokens=answers,
        back_s=statistics.fmean(back_s(one) for one in samples),
    )


def requests_of(deployed: Deployed) -> list[Entry]:
    """All that its sites' ledgers hold."""
    ids = [site.id for site in deployed.sites]
    return list(chain.from_iterable(entries(ledger_file(deployed.settings, one)) for one in ids))


def overhead_s(quiet: Sequence[Entry], edge: Pace, worker: Pace, *, rtt_s: float) -> float:
    """Seconds that lone requests took beyond writing and the way, median; never below 0."""
    beyond = [
        one.total_seconds
        - one.enriched_tokens * edge.token_s(1)
        - one.completion_tokens * worker.token_s(1)
        - rtt_s
        for one in quiet
    ]
    return max(0.0, statistics.median(beyond))


def back_s(samples: Sequence[Sample]) -> float:
    """Seconds that fewer workers were up than at first."""
    if not samples:
        return 0.0
    all_up = max(one.workers_up for one in samples)
    away = [one.at for one in samples if one.workers_up < all_up]
    return min(LONGEST_BACK_S, away[-1] - away[0]) if away else 0.0
