"""How admitted updates become one delta: one file a method, and this registry."""

from collections.abc import Callable, Mapping

from fl.adapter import Adapter
from fl.aggregation.aggregator import Aggregated, Aggregator
from fl.aggregation.compatibility import check_method
from fl.aggregation.fedavg import FedAvg

__all__ = ["Aggregated", "Aggregator", "aggregator"]

_METHODS: Mapping[str, Callable[[Adapter, bool], Aggregator]] = {"fedavg": FedAvg}


def aggregator(method: str, release: Adapter, measure_error: bool) -> Aggregator:
    """A fresh aggregator for one round on `release`; raise SettingsError for an unknown method."""
    check_method(method)
    return _METHODS[method](release, measure_error)
