"""What every aggregation method is: take one update at a time, finish with the next release."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from fl.adapter import Adapter
from fl.update import AdapterUpdate


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """What a round's updates make together."""

    shared: Adapter  # of the next release
    delta: Adapter | None  # shared = release + delta, where coordinates stay; else None
    error: float  # ||Delta* - used||_F / ||Delta*||_F of the products; 0 exact, nan not measured
    dropped: Mapping[str, str] = field(default_factory=dict)  # site -> what a robust rule did to it


class Aggregator(Protocol):
    """Combines the updates of one round."""

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Take in one admitted update; `weight` is above 0, by default its num_examples.

        Raises AdapterError for an update that the method cannot combine with this release.
        """

    def finish(self) -> Aggregated:
        """Combine what was added; raise FederationError when that was nothing."""


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What an aggregator starts a round with."""

    release: Adapter
    round_number: int  # 1, 2, ...
    rank: int  # directions of the release that learn, the first ones
    rank_limit: int  # of the next release, where a method makes it grow
    measure_error: bool
