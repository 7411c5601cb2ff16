"""The scenes of the verb `orchestrate`: drawn from its settings and a seed."""

import random
from dataclasses import dataclass

from fl.orchestration.batch_server import Pace
from fl.orchestration.scene import (
    Burstiness,
    Change,
    Costs,
    Freight,
    Loss,
    Scene,
    bursty_arrivals,
)
from fl.settings import OrchestrateSettings, Settings

# Of the sites that are played for real, whose traces are short: seconds between two adverts, and
# for which a measurement of a link stands.
ADVERT_S, MEASURE_S = 1, 2
LARGE_LINK = 10  # times as long a link stays what it is in the large scenes


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was measured on real processes, and the model takes over."""

    edge: Pace
    worker: Pace
    costs: Costs
    enriched_tokens: tuple[int, ...]  # lengths of what sites wrote
    answer_tokens: tuple[int, ...]  # and of answers
    back_s: float  # until a killed worker is there again


def guess(settings: Settings) -> Calibration:
    """What the settings say, before anything was measured."""
    its, asking = settings.orchestrate, settings.asking
    expected = 0.75 * asking.enriched_tokens, 0.75 * asking.answer_tokens
    return Calibration(
        edge=Pace(step_s=its.edge_step_ms / 1000, row_s=0.0005, rows=16),
        worker=Pace(
            step_s=its.worker_step_ms / 1000, row_s=its.worker_row_ms / 1000, rows=its.rows
        ),
        costs=Costs(
            enriched_tokens=expected[0],
            answer_tokens=expected[1],
            bytes_up=600,
            bytes_down=1500,
            talk_bytes=250,
        ),
        enriched_tokens=(round(expected[0]),),
        answer_tokens=(round(expected[1]),),
        back_s=5.0,
    )


def cells_of(sites: int, cells: int) -> tuple[int, ...]:
    """The cell of each site: neighbours share one."""
    return tuple(site * cells // sites for site in range(sites))


def small_scene(settings: Settings, found: Calibration, seed: int) -> Scene:
    """What is played for real."""
    its = settings.orchestrate
    rng = random.Random(f"orchestrate {settings.seed} {seed}")
    cell_of = cells_of(its.sites, its.cells)
    killed_at = its.seconds / 2
    return Scene(
        seconds=its.seconds,
        deadline_s=its.deadline_s,
        cell_of=cell_of,
        arrivals=bursty_arrivals(
            cell_of,
            Burstiness(**vars(its.burst)),
            seconds=its.seconds,
            enriched_tokens=found.enriched_tokens,
            answer_tokens=found.answer_tokens,
            rng=rng,
        ),
        changes=_changes(its, its.cells, its.seconds, its.link_s, rng),
        losses=(Loss(at=killed_at, worker="worker-0", back_at=killed_at + found.back_s),),
        freight=(),
        edge=found.edge,
        workers=_workers(its.workers, found),
        costs=found.costs,
        advert_s=ADVERT_S,
        measure_s=MEASURE_S,
    )


def large_scene(settings: Settings, found: Calibration, seed: int) -> Scene:
    """What is only modelled: many more sites, hours, and rounds of learning on the same links."""
    its, large = settings.orchestrate, settings.orchestrate.modelled
    rng = random.Random(f"modelled {settings.seed} {seed}")
    cell_of = cells_of(large.sites, large.cells)
    killed_at = large.seconds / 2
    rounds = range(1, int(large.seconds / large.round_s))
    share = large.sites // large.cells * large.round_bytes
    return Scene(
        seconds=large.seconds,
        deadline_s=its.deadline_s,
        cell_of=cell_of,
        arrivals=bursty_arrivals(
            cell_of,
            Burstiness(**vars(large.burst)),
            seconds=large.seconds,
            enriched_tokens=found.enriched_tokens,
            answer_tokens=found.answer_tokens,
            rng=rng,
        ),
        changes=_changes(its, large.cells, large.seconds, LARGE_LINK * its.link_s, rng),
        losses=(Loss(at=killed_at, worker="worker-0", back_at=killed_at + found.back_s),),
        freight=tuple(
            Freight(at=number * large.round_s, cell=cell, up=share, down=share)
            for number in rounds
            for cell in range(large.cells)
        ),
        edge=found.edge,
        workers=_workers(large.workers, found),
        costs=found.costs,
        advert_s=settings.orchestration.advert_s or settings.routing.measure_s,
        measure_s=settings.routing.measure_s,
    )


def _changes(
    its: OrchestrateSettings, cells: int, seconds: float, mean_s: float, rng: random.Random
) -> tuple[Change, ...]:
    """Every cell begins on the first link; later ones are drawn."""
    found = [Change(at=0.0, cell=cell, profile=its.links[0]) for cell in range(cells)]
    for cell in range(cells):
        at = rng.expovariate(1 / mean_s)
        while at < seconds:
            found.append(Change(at=at, cell=cell, profile=rng.choice(its.links)))
            at += rng.expovariate(1 / mean_s)
    return tuple(sorted(found, key=lambda change: change.at))


def _workers(many: int, found: Calibration) -> dict[str, Pace]:
    return {f"worker-{number}": found.worker for number in range(many)}
