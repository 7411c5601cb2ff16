"""What is played: who asks when, over which links, of which workers, and what goes wrong."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from fl.orchestration.batch_server import Pace


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """A short prompt at a site. Seconds since the scene began."""

    at: float
    site: int
    enriched_tokens: int  # the site will write for it
    answer_tokens: int  # its answer will have


@dataclass(frozen=True, kw_only=True)
class Change:
    """A link is another one from now on."""

    at: float
    cell: int
    profile: str  # as in link.profile


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A worker is killed, and is back later."""

    at: float
    worker: str
    back_at: float


@dataclass(frozen=True, kw_only=True)
class Freight:
    """Bytes that are no request's but take the same link: releases down, updates up."""

    at: float
    cell: int
    up: int
    down: int


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a usual request takes, as measured."""

    enriched_tokens: float  # that a site expects to write
    bytes_up: float
    bytes_down: float
    answer_tokens: float  # that are expected of an answer
    talk_bytes: float  # of asking to be admitted, each way
    overhead_s: float = 0.0  # that a request takes besides: processes, threads, reading the prompt


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All of it."""

    seconds: float  # no request comes later
    deadline_s: float  # of every request
    cell_of: tuple[int, ...]  # of each site
    arrivals: tuple[Arrival, ...]
    changes: tuple[Change, ...]  # at 0 for every cell first
    losses: tuple[Loss, ...]
    freight: tuple[Freight, ...]
    edge: Pace  # of every site's model
    workers: dict[str, Pace]
    costs: Costs
    advert_s: float  # seconds between two adverts of a site's link
    measure_s: float  # seconds for which a measurement of it stands


@dataclass(frozen=True, kw_only=True)
class Burstiness:
    """Two rates by turns: quiet and crowded (an interrupted Poisson process with a floor)."""

    quiet_per_s: float  # requests a second and site
    crowd_per_s: float
    quiet_s: float  # mean seconds of a quiet time
    crowd_s: float


def bursty_arrivals(
    cell_of: Sequence[int],
    burst: Burstiness,
    *,
    seconds: float,
    enriched_tokens: Sequence[int],
    answer_tokens: Sequence[int],
    rng: random.Random,
) -> tuple[Arrival, ...]:
    """Arrivals of all sites in their order; a crowd is one cell's, so its sites burst together.

    `enriched_tokens` and `answer_tokens` are lengths to draw from, as they were measured.
    """
    found: list[Arrival] = []
    lengths = random.Random(rng.random())  # when who asks does not depend on how long answers are
    for cell in sorted(set(cell_of)):
        crowds = _crowds(burst, seconds, rng)
        for site in [s for s, its in enumerate(cell_of) if its == cell]:
            for begins, ends, crowded in crowds:
                rate = burst.crowd_per_s if crowded else burst.quiet_per_s
                at = begins + rng.expovariate(rate)
                while at < ends:
                    found.append(
                        Arrival(
                            at=at,
                            site=site,
                            enriched_tokens=lengths.choice(enriched_tokens),
                            answer_tokens=lengths.choice(answer_tokens),
                        )
                    )
                    at += rng.expovariate(rate)
    return tuple(sorted(found, key=lambda arrival: (arrival.at, arrival.site)))


def _crowds(
    burst: Burstiness, seconds: float, rng: random.Random
) -> list[tuple[float, float, bool]]:
    """Spans by turns quiet and crowded: begin, end, crowded?"""
    spans: list[tuple[float, float, bool]] = []
    # It begins in either with the share of time that either has in the long run.
    crowded = rng.random() < burst.crowd_s / (burst.crowd_s + burst.quiet_s)
    at = 0.0
    while at < seconds:
        lasts = rng.expovariate(1 / (burst.crowd_s if crowded else burst.quiet_s))
        spans.append((at, min(seconds, at + lasts), crowded))
        at, crowded = at + lasts, not crowded
    return spans
