"""What every aggregation method is: take one update at a time, finish with one delta."""

from dataclasses import dataclass
from typing import Protocol

from fl.adapter import Adapter
from fl.update import AdapterUpdate


@dataclass(frozen=True, kw_only=True)
class Aggregated:
    """The combined delta, to be added to the release the updates are based on."""

    delta: Adapter
    error: float  # ||Delta* - used||_F / ||Delta*||_F of the products; 0 exact, nan not measured


class Aggregator(Protocol):
    """Combines the updates of one round; its memory does not grow with the number of sites."""

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Take in one admitted update; `weight` is above 0, by default its num_examples."""

    def finish(self) -> Aggregated:
        """Combine what was added; raise FederationError when that was nothing."""
