"""A method of aggregation as the registry holds it."""

from collections.abc import Callable
from dataclasses import dataclass

from fl.aggregation.aggregator import Aggregator, Inputs
from fl.aggregation.turn import Turn


@dataclass(frozen=True, kw_only=True)
class Method:
    """How sites take part, and how their updates are combined."""

    name: str
    make: Callable[[Inputs], Aggregator]
    turn: Callable[[int], Turn]  # round number -> what sites do
    exact: str  # what a report says of it
    mixed_ranks: bool = False  # sites may train fewer directions than learning.rank
    cuts: bool = False  # a site of lower rank works with the release's first directions only
    steps: bool = True  # the next release is this one + a delta in the same coordinates
