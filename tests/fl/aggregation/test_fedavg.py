"""FedAvg of factors: means and the exact error, by hand and against dense products."""

import math

import numpy as np
import pytest

from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter, AdapterSpec, add
from fl.aggregation import Aggregator, aggregator
from tests.fl.adapters import drawn, update

LAYER = "base_model.model.h.0.c_attn"


def fedavg(release: Adapter, *, measure_error: bool = True) -> Aggregator:
    """An aggregator of round 1."""
    rank = release.spec.rank
    return aggregator("fedavg", release, round_number=1, rank=rank, measure_error=measure_error)


def scalar_adapter(a: float, b: float) -> Adapter:
    """One layer, rank 1, one input and one output: the product is s * b * a."""
    one = AdapterSpec(base_model_fingerprint="f", rank=1, alpha=2.0, target_modules=("c_attn",))
    tensors = {
        LAYER + A_SUFFIX: np.full((1, 1), a, np.float32),
        LAYER + B_SUFFIX: np.full((1, 1), b, np.float32),
    }
    return Adapter(spec=one, tensors=tensors)


def test_two_sites_by_hand() -> None:
    # release A=1, B=0; site one (n=1) ends at A=2, B=1; site two (n=3) at A=1, B=3
    combine = fedavg(scalar_adapter(1, 0))
    combine.add(update(scalar_adapter(1, 1), site_id="one", num_examples=1))
    combine.add(update(scalar_adapter(0, 3), site_id="two", num_examples=3))

    combined = combine.finish()
    assert combined.delta is not None

    # means: dA = 1/4, dB = 10/4; used s * 2.5 * 1.25 = s * 3.125;
    # Delta* = s * (1/4 * 1*2 + 3/4 * 3*1) = s * 2.75; error = 0.375 / 2.75
    assert combined.delta.tensors[LAYER + A_SUFFIX].item() == 0.25
    assert combined.delta.tensors[LAYER + B_SUFFIX].item() == 2.5
    assert combined.error == pytest.approx(0.375 / 2.75, rel=1e-6)


def test_a_late_site_counts_for_less_by_hand() -> None:
    # as above, but site two came late: 3 examples with a weight of 1 / 2
    combine = fedavg(scalar_adapter(1, 0))
    combine.add(update(scalar_adapter(1, 1), site_id="one", num_examples=1))
    combine.add(update(scalar_adapter(0, 3), site_id="two", num_examples=3), weight=0.5)

    combined = combine.finish()
    assert combined.delta is not None

    # p = 2/3, 1/3: dA = 2/3, dB = 5/3; used s * 5/3 * 5/3 = s * 25/9;
    # Delta* = s * (2/3 * 1*2 + 1/3 * 3*1) = s * 7/3 = s * 21/9; error = (4/9) / (21/9)
    assert combined.delta.tensors[LAYER + A_SUFFIX].item() == pytest.approx(2 / 3, rel=1e-7)
    assert combined.delta.tensors[LAYER + B_SUFFIX].item() == pytest.approx(5 / 3, rel=1e-7)
    assert combined.error == pytest.approx(4 / 21, rel=1e-6)


@pytest.mark.parametrize(
    "counts", [[40, 600, 120, 80, 200], [40, 600 / math.sqrt(2), 120 / math.sqrt(3), 0.5, 200]]
)
@pytest.mark.parametrize("rank", [2, 70])  # 70: the stack is multiplied before the end
def test_error_is_that_of_the_dense_products(rank: int, counts: list[float]) -> None:
    release, sites = drawn(0, rank=rank), [drawn(k, rank=rank, size=0.3) for k in range(1, 6)]
    combine = fedavg(release)
    for delta, count in zip(sites, counts, strict=True):
        if isinstance(count, int):
            combine.add(update(delta, num_examples=count))
        else:
            combine.add(update(delta, num_examples=7), weight=count)

    combined = combine.finish()
    assert combined.delta is not None

    used = products(add(release, combined.delta))
    shares = [count / sum(counts) for count in counts]
    trained = [products(add(release, delta)) for delta in sites]
    missed = target = 0.0
    for layer in used:
        wanted = sum(p * t[layer] for p, t in zip(shares, trained, strict=True))
        missed += float(np.sum((wanted - used[layer]) ** 2))
        target += float(np.sum(wanted**2))
    assert combined.error == pytest.approx(math.sqrt(missed / target), rel=1e-4)


def products(adapter: Adapter) -> dict[str, np.ndarray]:
    """Dense s B A of every layer, float64."""
    layers = [name.removesuffix(A_SUFFIX) for name in adapter.tensors if name.endswith(A_SUFFIX)]
    return {
        layer: adapter.spec.scale
        * adapter.tensors[layer + B_SUFFIX].astype(np.float64)
        @ adapter.tensors[layer + A_SUFFIX].astype(np.float64)
        for layer in layers
    }


def test_equal_sites_are_exact() -> None:
    release, delta = drawn(0), drawn(1)
    combine = fedavg(release)
    for _ in range(3):
        combine.add(update(delta, num_examples=7))
    combined = combine.finish()
    assert combined.delta is not None
    for name, tensor in delta.tensors.items():
        np.testing.assert_allclose(combined.delta.tensors[name], tensor, rtol=1e-6)
    assert combined.error < 1e-6


def test_order_of_arrival_changes_no_bit() -> None:
    updates = [update(drawn(k), num_examples=k * 37) for k in range(1, 9)]
    results = []
    for order in (updates, updates[::-1]):
        combine = fedavg(drawn(0), measure_error=False)
        for one in order:
            combine.add(one)
        results.append(combine.finish())
    assert math.isnan(results[0].error)  # it was not measured
    for name, tensor in results[0].shared.tensors.items():
        np.testing.assert_array_equal(tensor, results[1].shared.tensors[name])
