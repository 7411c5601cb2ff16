"""Adapters, updates and cohorts drawn from a seed, and their dense products in float64."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from hypothesis import strategies as st

from fl.adapter import A_SUFFIX, B_SUFFIX, PEFT_PREFIX, Adapter, AdapterSpec
from fl.aggregation import Aggregated, aggregator, turn
from fl.sharing import first_directions
from fl.update import AdapterUpdate
from tests.fl.adapters import update

Dense = Mapping[str, npt.NDArray[np.float64]]

# One wide, one tall and one square layer: where W is square, a transposed product has the same
# shape and only its numbers tell.
LAYERS = {"h.0.c_attn": (9, 4), "h.0.c_proj": (5, 7), "h.1.c_proj": (6, 6)}


@dataclass(frozen=True, kw_only=True)
class Cohort:
    """A release and the updates of a round on it."""

    release: Adapter
    updates: tuple[AdapterUpdate, ...]

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """p_k, of num_examples."""
        counts = np.array([u.num_examples for u in self.updates], np.float64)
        shares: npt.NDArray[np.float64] = counts / counts.sum()
        return shares


def drawn(
    rng: np.random.Generator, *, rank: int, alpha: float, size: float = 1.0, factors: str = "AB"
) -> Adapter:
    """Random factors for LAYERS."""
    tensors = {}
    for module, (d_out, d_in) in LAYERS.items():
        for suffix, shape in ((A_SUFFIX, (rank, d_in)), (B_SUFFIX, (d_out, rank))):
            values = size * rng.standard_normal(shape)
            if suffix[6] in factors:
                tensors[PEFT_PREFIX + module + suffix] = values.astype(np.float32)
    spec = AdapterSpec(
        base_model_fingerprint="0" * 64,
        rank=rank,
        alpha=alpha,
        target_modules=("c_attn", "c_proj"),
    )
    return Adapter(spec=spec, tensors=tensors)


@st.composite
def cohorts(draw: st.DrawFn, *, method: str, mixed: bool = False, most: int = 6) -> Cohort:
    """A round of `method`: random K, p, ranks and alphas where it takes them, sizes and seed."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rank = draw(st.integers(1, 3))
    alpha = draw(st.sampled_from([1.0, 3.0, 16.0]))
    size = draw(st.sampled_from([0.05, 0.3, 1.0]))
    updates = []
    for place in range(draw(st.integers(1, most))):
        own_rank = draw(st.integers(1, rank)) if mixed else rank
        own_alpha = draw(st.sampled_from([1.0, 4.0, 10.0])) if mixed else alpha
        delta = drawn(rng, rank=own_rank, alpha=own_alpha, size=size, factors=turn(method, 1).sends)
        count = draw(st.integers(1, 900))
        updates.append(update(delta, site_id=f"site-{place}", num_examples=count))
    return Cohort(release=drawn(rng, rank=rank, alpha=alpha), updates=tuple(updates))


def combined(
    method: str,
    cohort: Cohort,
    *,
    round_number: int = 1,
    rank_limit: int = 10_000,
    order: Sequence[int] | None = None,
) -> Aggregated:
    """What the method makes of the cohort; `order` is that of arrival."""
    combine = aggregator(
        method,
        cohort.release,
        round_number=round_number,
        rank=cohort.release.spec.rank,
        rank_limit=rank_limit,
    )
    for place in order if order is not None else range(len(cohort.updates)):
        combine.add(cohort.updates[place])
    return combine.finish()


def products(adapter: Adapter) -> Dense:
    """Dense s B A of every layer."""
    return {
        module: adapter.spec.scale
        * adapter.tensors[PEFT_PREFIX + module + B_SUFFIX].astype(np.float64)
        @ adapter.tensors[PEFT_PREFIX + module + A_SUFFIX].astype(np.float64)
        for module in LAYERS
    }


def trained(release: Adapter, delta: Adapter) -> Dense:
    """Dense s_k B_k A_k of a site that started from its directions of the release.

    A site with a scale of its own starts from B s / s_k, so that its product is the release's.
    """
    own = first_directions(release, delta.spec.rank)
    fold = delta.spec.scale / release.spec.scale
    found = {}
    for module in LAYERS:
        a_name, b_name = PEFT_PREFIX + module + A_SUFFIX, PEFT_PREFIX + module + B_SUFFIX
        a, b = own.tensors[a_name].astype(np.float64), own.tensors[b_name].astype(np.float64)
        if a_name in delta.tensors:
            a = a + delta.tensors[a_name]
        b = b / fold
        if b_name in delta.tensors:
            b = b + delta.tensors[b_name]
        found[module] = delta.spec.scale * b @ a
    return found


def target(cohort: Cohort) -> Dense:
    """Delta* = sum p_k s_k B_k A_k."""
    each = [trained(cohort.release, u.delta) for u in cohort.updates]
    return {m: sum(p * e[m] for p, e in zip(cohort.shares, each, strict=True)) for m in LAYERS}


def distance(one: Dense, other: Dense) -> float:
    """Frobenius, over all layers."""
    return float(np.sqrt(sum(np.sum((one[m] - other[m]) ** 2) for m in one)))


def length(one: Dense) -> float:
    """Frobenius, over all layers."""
    return float(np.sqrt(sum(np.sum(matrix**2) for matrix in one.values())))


def assert_close(found: Dense, expected: Dense, *, relative: float = 1e-6) -> None:
    """Equal up to `relative` of the expected one's norm."""
    assert distance(found, expected) <= relative * max(length(expected), 1e-6)
