"""How admitted updates become the next release: one file a method, and this registry."""

import difflib
from collections.abc import Mapping

from fl.adapter import B_SUFFIX, Adapter
from fl.aggregation.aggregator import Aggregated, Aggregator, Inputs
from fl.aggregation.dual import DUAL
from fl.aggregation.fedavg import FEDAVG
from fl.aggregation.fedex import FEDEX
from fl.aggregation.fedsa import FEDSA
from fl.aggregation.ffa import FFA
from fl.aggregation.flexlora import FLEXLORA
from fl.aggregation.flora import FLORA
from fl.aggregation.method import Method
from fl.aggregation.rolora import ROLORA
from fl.aggregation.turn import Turn
from fl.errors import SettingsError

__all__ = ["METHODS", "Aggregated", "Aggregator", "Method", "Turn", "aggregator", "method", "turn"]

METHODS: Mapping[str, Method] = {
    one.name: one for one in (FEDAVG, FFA, ROLORA, FLORA, FLEXLORA, FEDEX, FEDSA, DUAL)
}


def method(name: str) -> Method:
    """The method of this name. Raises SettingsError, with the nearest one that exists."""
    if name not in METHODS:
        near = difflib.get_close_matches(name, METHODS, n=1)
        hint = f" Did you mean {near[0]}?" if near else f" There is: {', '.join(METHODS)}."
        raise SettingsError(f"method={name!r} is no aggregation method.{hint}")
    return METHODS[name]


def turn(name: str, round_number: int, release: Adapter | None = None) -> Turn:
    """What sites do in round 1, 2, ... of a method. Raises SettingsError.

    From a `release` that changes nothing yet every round is like the first one: after a refused
    candidate, round 2 starts from release 0 again.
    """
    return method(name).turn(_turn_number(round_number, release))


def aggregator(
    name: str,
    release: Adapter,
    *,
    round_number: int,
    rank: int,
    rank_limit: int = 64,
    measure_error: bool = True,
) -> Aggregator:
    """A fresh aggregator for one round on `release`. Raises SettingsError for an unknown method.

    `rank` is the number of the release's directions that learn, `rank_limit` the most that the next
    release may have.
    """
    return method(name).make(
        Inputs(
            release=release,
            round_number=_turn_number(round_number, release),
            rank=rank,
            rank_limit=rank_limit,
            measure_error=measure_error,
        )
    )


def _turn_number(round_number: int, release: Adapter | None) -> int:
    """The round whose turn it is."""
    moves = release is None or any(
        tensor.any() for name, tensor in release.tensors.items() if name.endswith(B_SUFFIX)
    )
    return round_number if moves else 1
