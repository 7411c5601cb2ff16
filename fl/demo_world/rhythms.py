"""Rhythms: how often each place asks in every hour; a day's and a week's habit, drift and crowds.

counts ~ Poisson(level * day * week * drift * crowd). Places differ in level, in the hours they are
awake and in their weekends; crowds come rarely and fade within hours.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from fl.demo_world.places import PRIVATE_PLACES

START = datetime(2026, 1, 5)  # a Monday
HOUR = timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class Rhythm:
    """Of one place."""

    level: float  # mean requests an hour
    peak: float  # hour of the day at which most is asked
    swing: float  # of the day: ln of the rate moves by as much up and down
    weekend: float  # rate of a weekend's day beside a weekday's
    crowd: float  # how many times as much at the height of a crowd


def draw_rhythm(name: str, *, seed: int) -> Rhythm:
    """Same seed, same rhythm."""
    rng = _rng("rhythm", name, seed)
    return Rhythm(
        level=float(np.exp(rng.uniform(math.log(6), math.log(400)))),
        peak=float(rng.uniform(8, 21)),
        swing=float(rng.uniform(0.5, 1.3)),
        weekend=float(rng.uniform(0.4, 1.6)),
        crowd=float(rng.uniform(1.5, 4.0)),
    )


def draw_counts(name: str, *, hours: int, seed: int) -> list[int]:
    """Requests of each hour from START on."""
    rhythm, rng = draw_rhythm(name, seed=seed), _rng("counts", name, seed)
    counts, drift, crowd = [], 0.0, 0.0
    for hour in range(hours):
        at = START + hour * HOUR
        drift = 0.97 * drift + 0.05 * float(rng.normal())
        crowd = 0.7 * crowd + (math.log(rhythm.crowd) if rng.random() < 0.01 else 0.0)
        day = rhythm.swing * math.cos(2 * math.pi * (at.hour - rhythm.peak) / 24)
        week = math.log(rhythm.weekend) if at.weekday() >= 5 else 0.0
        counts.append(int(rng.poisson(rhythm.level * math.exp(day + week + drift + crowd))))
    return counts


def _rng(what: str, name: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([seed, PRIVATE_PLACES.index(name), *what.encode()])
