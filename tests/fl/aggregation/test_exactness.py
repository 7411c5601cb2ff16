"""What each method promises of the product, against dense float64 products of random cohorts."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.adapter import A_SUFFIX, B_SUFFIX, PEFT_PREFIX, Adapter
from fl.aggregation import aggregator, turn
from fl.aggregation.dual import mixture
from fl.aggregation.fedex import residual
from fl.aggregation.svd import decompose
from fl.errors import SettingsError
from tests.fl.adapters import update
from tests.fl.aggregation.draws import (
    LAYERS,
    Cohort,
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
seeds = st.integers(0, 2**32 - 1)


# --- exact methods ---


@few
@given(st.one_of(cohorts(method="ffa"), cohorts(method="rolora")))
def test_with_a_frozen_factor_the_mean_is_exact(cohort: Cohort) -> None:
    """ffa, and rolora's B rounds: s Bbar A0 is Delta*, and A0 keeps every bit."""
    for method in ("ffa", "rolora"):
        made = combined(method, cohort, round_number=1)
        assert_close(products(made.shared), target(cohort))
        assert made.error == 0
        for name, tensor in cohort.release.tensors.items():
            if name.endswith(A_SUFFIX):
                assert made.shared.tensors[name].tobytes() == tensor.tobytes()


@few
@given(cohorts(method="fedsa"))
def test_rolora_moves_a_in_even_rounds(cohort: Cohort) -> None:
    made = combined("rolora", cohort, round_number=2)
    assert_close(products(made.shared), target(cohort))
    for name, tensor in cohort.release.tensors.items():
        if name.endswith(B_SUFFIX):
            assert made.shared.tensors[name].tobytes() == tensor.tobytes()


def test_rolora_begins_with_b_whichever_round_it_is() -> None:
    """After a refused first candidate round 2 starts from release 0, whose B is 0: A would learn
    nothing from it."""
    release = drawn(np.random.default_rng(0), rank=2, alpha=4.0)
    fresh = Adapter(
        spec=release.spec,
        tensors={
            n: np.zeros_like(t) if n.endswith(B_SUFFIX) else t for n, t in release.tensors.items()
        },
    )
    assert turn("rolora", 2, fresh).trains == "B"
    assert turn("rolora", 2, release).trains == "A"
    combine = aggregator("rolora", fresh, round_number=2, rank=2)
    combine.add(update(drawn(np.random.default_rng(1), rank=2, alpha=4.0, factors="B")))
    assert combine.finish().error == 0.0
    assert [turn("rolora", number).trains for number in (1, 2, 3, 4)] == ["B", "A", "B", "A"]


@few
@given(cohorts(method="flora", mixed=True))
def test_a_stack_is_the_weighted_sum_of_products(cohort: Cohort) -> None:
    """flora: release + sum p_k s_k B_k A_k, for mixed ranks and alphas."""
    made = combined("flora", cohort)
    wanted = dict(products(cohort.release))
    for share, one in zip(cohort.shares, cohort.updates, strict=True):
        for module, product in products(one.delta).items():
            wanted[module] = wanted[module] + share * product
    assert_close(products(made.shared), wanted)
    assert made.error == 0
    for name, tensor in made.shared.tensors.items():
        assert tensor.shape[0 if name.endswith(A_SUFFIX) else 1] == made.shared.spec.rank
    assert made.shared.spec.scale == pytest.approx(cohort.release.spec.scale)


@few
@given(cohorts(method="fedex"))
def test_fedex_adds_what_the_means_miss(cohort: Cohort) -> None:
    made = combined("fedex", cohort)
    assert_close(products(made.shared), target(cohort))
    assert made.error == 0
    rank, count = cohort.release.spec.rank, len(cohort.updates)
    assert made.shared.spec.rank <= rank + (count - 1) * rank
    # the learning directions are fedavg's
    means = combined("fedavg", cohort).shared
    for name, tensor in means.tensors.items():
        found = made.shared.tensors[name]
        np.testing.assert_allclose(
            found[:rank] if name.endswith(A_SUFFIX) else found[:, :rank], tensor, atol=1e-6
        )


@few
@given(seed=seeds, rank=st.integers(1, 3), count=st.integers(1, 6), square=st.booleans())
def test_the_residual_needs_one_block_less_than_there_are_sites(
    seed: int, rank: int, count: int, square: bool
) -> None:
    rng = np.random.default_rng(seed)
    d_out, d_in = (6, 6) if square else (9, 4)
    pairs = [
        (rng.standard_normal((rank, d_in)), rng.standard_normal((d_out, rank)))
        for _ in range(count)
    ]
    shares = rng.uniform(0.1, 1.0, count)
    shares /= shares.sum()
    a, b = residual(pairs, list(shares))
    assert (a.shape, b.shape) == (((count - 1) * rank, d_in), (d_out, (count - 1) * rank))
    mean_a = sum(p * x for p, (x, _) in zip(shares, pairs, strict=True))
    mean_b = sum(p * y for p, (_, y) in zip(shares, pairs, strict=True))
    wanted = sum(p * (y - mean_b) @ (x - mean_a) for p, (x, y) in zip(shares, pairs, strict=True))
    np.testing.assert_allclose(b @ a, wanted, atol=1e-12)


def test_fedex_keeps_its_residual_over_rounds() -> None:
    """A second round on a release with a residual; the frozen directions stay where they are."""
    rng = np.random.default_rng(3)
    first = Cohort(
        release=drawn(rng, rank=2, alpha=4.0),
        updates=tuple(
            update(drawn(rng, rank=2, alpha=4.0), site_id=f"{k}", num_examples=3 + k)
            for k in range(3)
        ),
    )
    release = combined("fedex", first).shared
    combine = aggregator("fedex", release, round_number=2, rank=2, rank_limit=100)
    deltas = [drawn(rng, rank=2, alpha=4.0) for _ in range(2)]
    for place, delta in enumerate(deltas):
        combine.add(update(delta, site_id=f"{place}", num_examples=5))
    made = combine.finish()
    wanted = {m: np.zeros(shape) for m, shape in LAYERS.items()}
    for delta in deltas:
        moved = {}
        for name, tensor in release.tensors.items():
            more = delta.tensors[name]
            moved[name] = tensor.copy()
            part = (slice(0, 2),) if name.endswith(A_SUFFIX) else (..., slice(0, 2))
            moved[name][part] += more
        for module, product in products(Adapter(spec=release.spec, tensors=moved)).items():
            wanted[module] = wanted[module] + product / 2
    assert_close(products(made.shared), wanted)


@pytest.mark.parametrize("method", ["flora", "fedex"])
def test_beyond_the_rank_limit_the_loss_is_told(method: str) -> None:
    rng = np.random.default_rng(5)
    cohort = Cohort(
        release=drawn(rng, rank=2, alpha=4.0),
        updates=tuple(
            update(drawn(rng, rank=2, alpha=4.0), site_id=f"{k}", num_examples=9) for k in range(5)
        ),
    )
    made, whole = combined(method, cohort, rank_limit=3), combined(method, cohort)
    assert made.shared.spec.rank == 3
    exact = products(whole.shared)
    lost = distance(products(made.shared), exact) / length(exact)
    assert lost > 0.01
    assert made.error == pytest.approx(lost, rel=1e-5)


# --- the best of its rank, and the inexact ---


@few
@given(cohorts(method="flexlora", mixed=True), seeds)
def test_flexlora_is_the_best_of_its_rank(cohort: Cohort, seed: int) -> None:
    made, rank, wanted = combined("flexlora", cohort), cohort.release.spec.rank, target(cohort)
    tails = [np.linalg.svd(matrix, compute_uv=False)[rank:] for matrix in wanted.values()]
    tail = math.sqrt(sum(float(np.sum(t**2)) for t in tails))
    assert distance(products(made.shared), wanted) == pytest.approx(
        tail, rel=1e-4, abs=1e-6 * length(wanted)
    )
    assert made.error == pytest.approx(tail / length(wanted), rel=1e-4, abs=1e-6)
    other = products(drawn(np.random.default_rng(seed), rank=rank, alpha=4.0))
    assert distance(other, wanted) >= tail
    # nothing is dead: a direction that adds nothing has an A, so it can learn
    for module in LAYERS:
        assert np.abs(made.shared.tensors[PEFT_PREFIX + module + A_SUFFIX]).max(axis=1).min() > 0


@few
@given(cohorts(method="fedavg"))
def test_the_error_of_fedavg_is_what_it_misses(cohort: Cohort) -> None:
    made, wanted = combined("fedavg", cohort), target(cohort)
    missed = distance(products(made.shared), wanted)
    assert made.error == pytest.approx(missed / length(wanted), rel=1e-3, abs=2e-6)


@few
@given(seed=seeds, rank=st.integers(1, 9))
def test_a_decomposition_is_that_of_the_dense_product(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((rank, 7)), rng.standard_normal((5, rank))
    found = decompose((a, b))
    np.testing.assert_allclose(
        found.sizes[:5], np.linalg.svd(b @ a, compute_uv=False)[: len(found.sizes[:5])], atol=1e-10
    )
    right, left = found.pair(rank)
    np.testing.assert_allclose(left @ right, b @ a, atol=1e-10)
    largest = right[np.arange(len(right)), np.abs(right).argmax(axis=1)]
    assert (largest > 0).all()


# --- personal parts ---


@few
@given(seed=seeds, weight=st.floats(0, 1))
def test_a_mixture_is_the_weighted_sum(seed: int, weight: float) -> None:
    """dual: a = 0 and a = 1 are the single adapters."""
    rng = np.random.default_rng(seed)
    shared, personal = drawn(rng, rank=2, alpha=4.0), drawn(rng, rank=3, alpha=6.0)
    found, one, other = (
        products(mixture(shared, personal, weight)),
        products(shared),
        products(personal),
    )
    assert_close(found, {m: (1 - weight) * one[m] + weight * other[m] for m in LAYERS})
    with pytest.raises(SettingsError, match="0 to 1"):
        mixture(shared, personal, 1.5)
