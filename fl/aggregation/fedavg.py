"""FedAvg of LoRA factors (FedIT, 2305.05644): average A and B separately, weighted by examples.

For one layer, with g = the release, site k's update dA_k, dB_k (so A_k = A_g + dA_k, B_k likewise),
p_k = w_k / sum w with the weights w (examples, fewer for a late update), and s = alpha / r:
    used     s (B_g + dB)(A_g + dA)        dA = sum p_k dA_k, dB = sum p_k dB_k
    target   Delta* = s sum p_k B_k A_k
    error    Delta* - used = s sum p_k (B_k - mean B)(A_k - mean A)
                           = s (C - dB dA),   C = sum p_k dB_k dA_k
A_k and B_k need not be rebuilt for that: every term with A_g or B_g alone cancels. So C is all that
is kept of the products, one dense (d_out, d_in) matrix a layer, however many sites there are, and
the small error is not the difference of two large numbers.
"""

import math

import numpy as np
import numpy.typing as npt

from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter, Array, check_alike
from fl.aggregation.aggregator import Aggregated
from fl.errors import FederationError
from fl.update import AdapterUpdate

# Directions of several sites that are multiplied at once. A product over 8 directions only is
# bound by memory traffic: stacking 16 sites of rank 8 makes measuring the error ~10x cheaper.
_STACKED_DIRECTIONS = 128


class FedAvg:
    """Running weighted sums of the updates; see the module's docstring for the formulas."""

    def __init__(self, release: Adapter, measure_error: bool) -> None:
        self._release = release
        self._weights = 0.0
        # float64: the mean does not depend on the order in which sites answer (to 1e-16)
        self._sums = {name: np.zeros(t.shape) for name, t in release.tensors.items()}
        self._products = _Products(release) if measure_error else None

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Add one admitted update; its weight is num_examples unless another is given."""
        check_alike(update.delta, self._release, what=f"update of {update.site_id}")
        weight = float(update.num_examples if weight is None else weight)
        assert 0 < weight < math.inf, weight
        self._weights += weight
        for name, tensor in update.delta.tensors.items():
            self._sums[name] += np.multiply(tensor, weight, dtype=np.float64)
        if self._products is not None:
            self._products.add(update.delta, weight)

    def finish(self) -> Aggregated:
        """The mean delta and the exact error of the products it makes."""
        if self._weights <= 0:
            raise FederationError("There is nothing to aggregate: no update was added.")
        delta = Adapter(
            spec=self._release.spec,
            tensors={
                name: (total / self._weights).astype(np.float32)
                for name, total in self._sums.items()
            },
        )
        error = math.nan
        if self._products is not None:
            error = self._products.error(delta, weights=self._weights)
        return Aggregated(delta=delta, error=error)


class _Products:
    """sum w_k dB_k dA_k of every layer, (d_out, d_in) float32, added up in stacks of updates."""

    def __init__(self, release: Adapter) -> None:
        self._release = release
        self._layers = [n.removesuffix(A_SUFFIX) for n in release.tensors if n.endswith(A_SUFFIX)]
        self._sums: dict[str, npt.NDArray[np.float32]] = {}
        for layer in self._layers:
            a, b = release.tensors[layer + A_SUFFIX], release.tensors[layer + B_SUFFIX]
            self._sums[layer] = np.zeros((b.shape[0], a.shape[1]), np.float32)
        self._waiting: list[tuple[Adapter, float]] = []  # (delta, weight)

    def add(self, delta: Adapter, weight: float) -> None:
        """Remember an update until a stack is full, at most _STACKED_DIRECTIONS directions."""
        self._waiting.append((delta, weight))
        if len(self._waiting) * self._release.spec.rank >= _STACKED_DIRECTIONS:
            self._multiply_waiting()

    def error(self, mean: Adapter, *, weights: float) -> float:
        """||Delta* - used||_F / ||Delta*||_F over all layers; 0 where Delta* itself is zero."""
        self._multiply_waiting()
        missed = target = 0.0  # squared Frobenius norms without the common factor s
        for layer in self._layers:
            d_a, d_b = _factors(mean, layer)
            a, b = _factors(self._release, layer)
            difference = self._sums[layer] / np.float32(weights) - d_b @ d_a  # Delta* - used
            missed += _squared(difference)
            target += _squared(difference + (b + d_b) @ (a + d_a))
        return math.sqrt(missed / target) if target > 0 else 0.0

    def _multiply_waiting(self) -> None:
        if not self._waiting:
            return
        for layer in self._layers:
            pairs = [(_factors(delta, layer), weight) for delta, weight in self._waiting]
            stacked_a = np.concatenate([d_a for (d_a, _), _ in pairs])  # (sum r, d_in)
            stacked_b = np.concatenate([d_b * np.float32(w) for (_, d_b), w in pairs], axis=1)
            self._sums[layer] += stacked_b @ stacked_a
        self._waiting.clear()


def _factors(adapter: Adapter, layer: str) -> tuple[Array, Array]:
    """(A, B) of one layer."""
    return adapter.tensors[layer + A_SUFFIX], adapter.tensors[layer + B_SUFFIX]


def _squared(matrix: npt.NDArray[np.float32]) -> float:
    return float(np.sum(np.square(matrix, dtype=np.float64)))
