"""What holds for every method: one site, any order, many sites, misfits."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.adapter import Adapter
from fl.aggregation import METHODS, aggregator, turn
from fl.errors import AdapterError, FederationError, SettingsError
from tests.fl.adapters import update
from tests.fl.aggregation.draws import (
    LAYERS,
    Cohort,
    Dense,
    assert_close,
    cohorts,
    combined,
    distance,
    drawn,
    length,
    products,
    target,
)

few = settings(max_examples=40, deadline=None)


@pytest.mark.parametrize("method", METHODS)
def test_one_site_is_the_identity(method: str) -> None:
    """The release becomes what the site made of it, as a product; bit by bit where it may be."""

    @few
    @given(cohorts(method=method, mixed=METHODS[method].mixed_ranks, most=1))
    def check(cohort: Cohort) -> None:
        made, (only,) = combined(method, cohort), cohort.updates
        if method == "flora":
            before, added = products(cohort.release), products(only.delta)
            wanted: Dense = {m: before[m] + added[m] for m in LAYERS}
        else:
            wanted = target(cohort)
        assert_close(products(made.shared), wanted, relative=2e-6)
        if METHODS[method].steps:
            for name, tensor in only.delta.tensors.items():
                moved = cohort.release.tensors[name] + tensor
                assert made.shared.tensors[name].tobytes() == moved.tobytes()

    check()


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_arrival_does_not_matter(method: str) -> None:
    @settings(max_examples=20, deadline=None)
    @given(cohorts(method=method, mixed=METHODS[method].mixed_ranks), st.randoms())
    def check(cohort: Cohort, random: "np.random.Generator") -> None:
        order = list(range(len(cohort.updates)))
        random.shuffle(order)
        one, other = combined(method, cohort), combined(method, cohort, order=order)
        assert_close(products(one.shared), products(other.shared), relative=2e-6)
        assert one.error == pytest.approx(other.error, rel=1e-3, abs=2e-6, nan_ok=True)

    check()


@pytest.mark.parametrize("method", METHODS)
def test_many_sites_are_streamed_to_the_same_result(method: str) -> None:
    """More directions than the layers are wide: stacks are multiplied out on the way."""
    rng = np.random.default_rng(8)
    sends = turn(method, 1).sends
    release = drawn(rng, rank=2, alpha=4.0)
    updates = tuple(
        update(
            drawn(rng, rank=2, alpha=4.0, size=0.3, factors=sends),
            site_id=f"{place}",
            num_examples=1 + place,
        )
        for place in range(80)
    )
    cohort = Cohort(release=release, updates=updates)
    made, wanted = combined(method, cohort), target(cohort)
    if method == "flora":
        sums = [products(u.delta) for u in updates]
        wanted = {
            m: products(release)[m]
            + sum(p * s[m] for p, s in zip(cohort.shares, sums, strict=True))
            for m in LAYERS
        }
    missed = distance(products(made.shared), wanted) / length(wanted)
    if METHODS[method].exact.startswith("exact"):
        assert missed < 2e-6
    else:
        assert made.error == pytest.approx(missed, rel=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_no_update_and_a_misfit_are_errors(method: str) -> None:
    rng = np.random.default_rng(1)
    release, sends = drawn(rng, rank=2, alpha=4.0), turn(method, 1).sends
    combine = aggregator(method, release, round_number=1, rank=2)
    with pytest.raises(FederationError, match="nothing to aggregate"):
        combine.finish()
    good = drawn(rng, rank=2, alpha=4.0, factors=sends)
    too_large = drawn(rng, rank=3, alpha=6.0, factors=sends)
    short = Adapter(spec=good.spec, tensors=dict(list(good.tensors.items())[1:]))
    elsewhere = replace(good, spec=replace(good.spec, base_model_fingerprint="1" * 64))
    for bad in (too_large, short, elsewhere):
        with pytest.raises(AdapterError, match="update of oslo"):
            combine.add(update(bad))
    combine.add(update(good))
    combine.finish()


def test_an_unknown_method_names_the_nearest() -> None:
    with pytest.raises(SettingsError, match="Did you mean flexlora"):
        aggregator(
            "flexlor", drawn(np.random.default_rng(0), rank=1, alpha=1.0), round_number=1, rank=1
        )
