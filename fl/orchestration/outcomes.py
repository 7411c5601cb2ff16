"""What became of a scene, played in real time or as a model."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a request."""

    at: float
    site: int
    place: str  # cloud | edge | shed, or "" where it was given up before it had one
    seconds: float  # until its answer, or until it was given up
    in_time: bool
    short_of: str = ""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One moment of the scene."""

    at: float
    at_workers: int  # requests that run or wait at the cloud
    workers_up: int
    bytes_up: float  # through all links so far
    bytes_down: float


@dataclass
class Played:
    """All outcomes in the order of arrival, and what it looked like meanwhile."""

    outcomes: list[Outcome] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # why, of requests that nobody answered for
