"""Distances in product space, and the rules that use them, on drawn updates."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter
from fl.aggregation import METHODS, aggregator, turn
from fl.aggregation.aggregator import Aggregated
from fl.aggregation.product_space import change, gram, squared_distances
from fl.aggregation.robust import RULES, robust
from fl.aggregation.telemetry import Observer, effective_rank
from fl.errors import FederationError, SettingsError
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
    trained,
)

few = settings(max_examples=30, deadline=None)
WITH_B = [name for name in METHODS if name != "fedsa"]


def behind(rule: str, cohort: Cohort, *, bad: int, bound: float = 0.0, method: str) -> Aggregated:
    """The cohort combined behind a rule."""
    rank = cohort.release.spec.rank
    inner = aggregator(method, cohort.release, round_number=1, rank=rank, rank_limit=1000)
    combine = robust(inner, rule, cohort.release, turn(method, 1), bad=bad, norm_bound=bound)
    for one in cohort.updates:
        combine.add(one)
    return combine.finish()


def alike(method: str, count: int, *, seed: int = 0) -> Cohort:
    """Honest sites: one common step and a little of each one's own."""
    rng = np.random.default_rng(seed)
    sends, release = turn(method, 1).sends, drawn(rng, rank=2, alpha=4.0)
    common = drawn(rng, rank=2, alpha=4.0, size=0.2, factors=sends)
    updates = []
    for place in range(count):
        own = drawn(rng, rank=2, alpha=4.0, size=0.04, factors=sends)
        tensors = {n: t + own.tensors[n] for n, t in common.tensors.items()}
        delta = Adapter(spec=common.spec, tensors=tensors)
        updates.append(update(delta, site_id=f"site-{place}", num_examples=10 + place))
    return Cohort(release=release, updates=tuple(updates))


@few
@given(cohorts(method="flexlora", mixed=True))
def test_distances_are_those_of_the_dense_products(cohort: Cohort) -> None:
    """Ranks and alphas may differ."""
    scale, way = cohort.release.spec.scale, turn("flexlora", 1)
    changes = [change(u, cohort.release, way) for u in cohort.updates]
    found = np.sqrt(squared_distances(gram(changes))) * scale
    dense = []
    for one in cohort.updates:
        started = trained(cohort.release, _nothing(one.delta))
        ended = trained(cohort.release, one.delta)
        dense.append({m: ended[m] - started[m] for m in LAYERS})
    for i, one_change in enumerate(dense):
        norm = scale * np.sqrt(gram(changes)[i, i])
        assert norm == pytest.approx(length(one_change), rel=1e-5, abs=1e-6)
        for j, other in enumerate(dense):
            size = max(length(one_change), length(other))
            assert found[i, j] == pytest.approx(distance(one_change, other), abs=2e-4 * size)


def _nothing(delta: Adapter) -> Adapter:
    return Adapter(spec=delta.spec, tensors={n: t * 0 for n, t in delta.tensors.items()})


@few
@given(seed=st.integers(0, 2**32 - 1))
def test_a_change_of_basis_changes_no_distance(seed: int) -> None:
    """(A, B) and (Q A, B Q^-1) are the same change of the model."""
    rng = np.random.default_rng(seed)
    release = drawn(rng, rank=2, alpha=4.0)
    fresh = [drawn(rng, rank=2, alpha=4.0) for _ in range(3)]
    q = rng.standard_normal((2, 2)) + 3 * np.eye(2)
    turned = {
        name: (q @ t if name.endswith(A_SUFFIX) else t @ np.linalg.inv(q)).astype(np.float32)
        for name, t in fresh[0].tensors.items()
    }
    other = [Adapter(spec=fresh[0].spec, tensors=turned), *fresh[1:]]
    way = turn("flora", 1)
    one, two = (gram([change(update(f), release, way) for f in pair]) for pair in (fresh, other))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-4 * np.abs(one).max())


@pytest.mark.parametrize("method", WITH_B)
@pytest.mark.parametrize("rule", ["multi_krum", "trimmed_mean"])
def test_outliers_are_left_out_and_the_others_combine_as_if_alone(rule: str, method: str) -> None:
    cohort = alike(method, 7)
    changed = list(cohort.updates)
    for place, factor in ((1, -1.0), (4, 100.0)):  # a flipped sign, and a hundredfold
        tensors = {
            n: t * np.float32(factor if n.endswith(B_SUFFIX) else 1.0)
            for n, t in changed[place].delta.tensors.items()
        }
        delta = replace(changed[place].delta, tensors=tensors)
        changed[place] = replace(changed[place], delta=delta)
    attacked = Cohort(release=cohort.release, updates=tuple(changed))
    made = behind(rule, attacked, bad=2, method=method)
    assert set(made.dropped) == {"site-1", "site-4"}
    assert all(rule in why for why in made.dropped.values())
    honest = tuple(u for u in changed if u.site_id not in made.dropped)
    alone = combined(method, Cohort(release=cohort.release, updates=honest), rank_limit=1000)
    assert_close(products(made.shared), products(alone.shared))


@pytest.mark.parametrize("rule", ["multi_krum", "trimmed_mean"])
def test_against_nobody_a_rule_is_none(rule: str) -> None:
    cohort = alike("fedavg", 5)
    made, plain = behind(rule, cohort, bad=0, method="fedavg"), combined("fedavg", cohort)
    assert made.dropped == {}
    for name, tensor in plain.shared.tensors.items():
        assert made.shared.tensors[name].tobytes() == tensor.tobytes()


@pytest.mark.parametrize("method", WITH_B)
def test_what_moves_too_far_is_shortened_along_its_line(method: str) -> None:
    cohort = alike(method, 1)
    way, release = turn(method, 1), cohort.release
    norm = release.spec.scale * np.sqrt(gram([change(cohort.updates[0], release, way)])[0, 0])
    made = behind("norm_bound", cohort, bad=1, bound=norm / 3, method=method)
    moved = {m: p - products(release)[m] for m, p in products(made.shared).items()}
    assert length(moved) == pytest.approx(norm / 3, rel=1e-3)
    assert list(made.dropped) == ["site-0"]
    assert behind("norm_bound", cohort, bad=1, bound=norm * 2, method=method).dropped == {}


def test_without_a_bound_the_median_is_it() -> None:
    cohort = alike("fedavg", 5)
    assert len(behind("norm_bound", cohort, bad=1, method="fedavg").dropped) == 2


def test_too_few_sites_and_unknown_rules_are_errors() -> None:
    cohort = alike("fedavg", 4)
    with pytest.raises(FederationError, match="at least 5 sites, 4 were admitted"):
        behind("multi_krum", cohort, bad=1, method="fedavg")
    with pytest.raises(FederationError, match="at least 5 sites"):
        behind("trimmed_mean", cohort, bad=2, method="fedavg")
    with pytest.raises(SettingsError, match=", ".join(RULES)):
        behind("krum", cohort, bad=1, method="fedavg")


def test_telemetry_by_hand() -> None:
    """Two opposite sites, one at a right angle; of many sites the first are compared."""
    rng = np.random.default_rng(2)
    release, step = drawn(rng, rank=2, alpha=4.0), drawn(rng, rank=2, alpha=4.0, factors="B")
    observer = Observer(release, turn("ffa", 1), most=2)
    for site, factor in (("oslo", 1.0), ("bonn", -2.0), ("rome", 1.0)):
        tensors = {n: t * np.float32(factor) for n, t in step.tensors.items()}
        observer.add(update(Adapter(spec=step.spec, tensors=tensors), site_id=site))
    told = observer.finish(release)
    assert told.sites == ("bonn", "oslo")
    assert told.cosines[0] == pytest.approx((1.0, -1.0))
    moved = {**release.tensors, **step.tensors}
    dense = length(products(Adapter(spec=release.spec, tensors=moved)))
    assert told.norms == pytest.approx({"bonn": 2 * dense, "oslo": dense, "rome": dense})
    assert told.effective_rank == 2
    empty = {n: t * np.float32(0) for n, t in release.tensors.items()}
    assert effective_rank(Adapter(spec=release.spec, tensors=empty)) == 0
