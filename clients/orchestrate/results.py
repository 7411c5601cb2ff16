"""What replays and the model found, and how the ways to admit compare."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from clients.compare.worth import Spread, spread
from clients.orchestrate.staging import Calibration
from fl.orchestration.outcomes import Outcome, Played, Sample

ADMISSIONS = ("joint", "compute", "network")  # what is compared; the first with the others
NEAR = 0.15  # share of a measured number by which the model may be off


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One trace under one admission."""

    admission: str
    seed: int
    requests: int
    missed: int  # late, given up or shed
    cloud: int  # sent there
    edge: int
    shed: int
    p50_s: float  # of those in time; 0 where none was
    lost: tuple[str, ...] = ()  # requests that nobody answered for, by status

    @property
    def miss_rate(self) -> float:
        return self.missed / self.requests if self.requests else 0.0


@dataclass(frozen=True, kw_only=True)
class Losing:
    """One load and deadline of the model: misses of joint less those of the better other."""

    load: float  # times the settings' request rates
    deadline_s: float
    missed: dict[str, tuple[float, ...]]  # share by admission, for each seed

    @property
    def best_other(self) -> str:
        """The other way that misses the least."""
        return min(ADMISSIONS[1:], key=lambda name: sum(self.missed[name]))

    @property
    def gain(self) -> Spread:
        """Share of requests by which joint misses fewer, paired; below 0 where it loses."""
        pairs = zip(self.missed[self.best_other], self.missed["joint"], strict=True)
        return spread([theirs - ours for theirs, ours in pairs])


@dataclass(frozen=True, kw_only=True)
class Orchestrated:
    """All of it."""

    real: tuple[Trial, ...]
    modelled: tuple[Trial, ...]  # the same traces
    large: tuple[Trial, ...]
    losing: tuple[Losing, ...]
    calibrations: dict[str, Calibration]  # by admission
    deadline_s: float
    sites: int
    large_sites: int
    large_hours: float
    real_samples: dict[str, tuple[Sample, ...]]  # of the first trace, by admission
    real_outcomes: dict[str, tuple[Outcome, ...]]
    large_samples: dict[str, tuple[Sample, ...]]
    large_outcomes: dict[str, tuple[Outcome, ...]]


def trial(admission: str, seed: int, played: Played) -> Trial:
    """Counted."""
    outcomes = played.outcomes
    in_time = [one.seconds for one in outcomes if one.in_time]
    places = {
        place: sum(one.place == place for one in outcomes) for place in ("cloud", "edge", "shed")
    }
    return Trial(
        admission=admission,
        seed=seed,
        requests=len(outcomes),
        missed=sum(not one.in_time for one in outcomes),
        p50_s=statistics.median(in_time) if in_time else 0.0,
        lost=tuple(played.lost),
        **places,
    )


def of(trials: Sequence[Trial], admission: str) -> list[Trial]:
    """Those of one admission, by seed."""
    return sorted((t for t in trials if t.admission == admission), key=lambda t: t.seed)


def misses(trials: Sequence[Trial], admission: str) -> Spread:
    """Share of requests that miss, over seeds."""
    return spread([one.miss_rate for one in of(trials, admission)])


def fewer(trials: Sequence[Trial], other: str) -> Spread:
    """By how much joint misses fewer than another admission, paired over seeds."""
    pairs = zip(of(trials, other), of(trials, "joint"), strict=True)
    return spread([theirs.miss_rate - ours.miss_rate for theirs, ours in pairs])


def off(real: Sequence[Trial], modelled: Sequence[Trial], admission: str) -> tuple[float, float]:
    """By which share the model's p50 and miss rate differ from the measured ones."""
    return (
        _share(_p50(of(modelled, admission)), _p50(of(real, admission))),
        _share(misses(modelled, admission).mean, misses(real, admission).mean),
    )


def _p50(trials: Sequence[Trial]) -> float:
    return statistics.fmean(one.p50_s for one in trials)


def _share(modelled: float, real: float) -> float:
    if real == 0:
        return 0.0 if modelled == 0 else float("inf")
    return modelled / real - 1


def as_json(found: Orchestrated) -> str:
    """Everything but the samples and outcomes, which the pictures show."""
    return json.dumps(
        {
            "deadline_s": found.deadline_s,
            "sites": found.sites,
            "large_sites": found.large_sites,
            "large_hours": found.large_hours,
            "real": [asdict(one) for one in found.real],
            "modelled": [asdict(one) for one in found.modelled],
            "large": [asdict(one) for one in found.large],
            "losing": [asdict(one) for one in found.losing],
            "calibrations": {name: asdict(one) for name, one in found.calibrations.items()},
        },
        indent=1,
    )
