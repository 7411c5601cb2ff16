"""Joining and splitting the shared and the personal part, and the adapter's arithmetic."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.adapter import Adapter, AdapterSpec, add, digest, initial_adapter, norm, subtract
from fl.errors import AdapterError
from fl.sharing import exact_spec, join, part_spec, split

A = "base_model.model.h.lora_A.weight"
B = "base_model.model.h.lora_B.weight"


def adapter(rank: int, *, seed: int, alpha_per_rank: float = 2.0) -> Adapter:
    spec = AdapterSpec(
        base_model_fingerprint="f", rank=rank, alpha=alpha_per_rank * rank, target_modules=("h",)
    )
    rng = np.random.default_rng(seed)
    return Adapter(
        spec=spec,
        tensors={
            A: rng.normal(size=(rank, 3)).astype(np.float32),
            B: rng.normal(size=(4, rank)).astype(np.float32),
        },
    )


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 99))
def test_a_joint_adapter_is_the_sum_of_both_products(shared: int, own: int, seed: int) -> None:
    one, two = adapter(shared, seed=seed), adapter(own, seed=seed + 1)
    joint = join(one, two)
    expected = one.spec.scale * one.tensors[B] @ one.tensors[A]
    expected = expected + two.spec.scale * two.tensors[B] @ two.tensors[A]
    np.testing.assert_allclose(
        joint.spec.scale * joint.tensors[B] @ joint.tensors[A], expected, atol=1e-4
    )
    back_one, back_two = split(joint, shared_rank=shared)
    assert all(np.array_equal(back_one.tensors[n], one.tensors[n]) for n in (A, B))
    assert all(np.array_equal(back_two.tensors[n], two.tensors[n]) for n in (A, B))


def test_parts_of_other_scale_or_base_do_not_join() -> None:
    with pytest.raises(AdapterError, match="scale"):
        join(adapter(2, seed=0), adapter(2, seed=1, alpha_per_rank=3.0))
    with pytest.raises(AdapterError, match="after 2"):
        split(adapter(2, seed=0), shared_rank=2)


def test_arithmetic_by_hand() -> None:
    one = Adapter(
        spec=part_spec(adapter(1, seed=0).spec, 1), tensors={A: np.full((1, 2), 3.0, np.float32)}
    )
    two = Adapter(spec=one.spec, tensors={A: np.array([[1.0, -1.0]], np.float32)})
    assert subtract(one, two).tensors[A].tolist() == [[2.0, 4.0]]
    assert add(one, two).tensors[A].tolist() == [[4.0, 2.0]]
    assert norm(two) == pytest.approx(2**0.5)
    with pytest.raises(AdapterError, match="shape"):
        add(one, Adapter(spec=one.spec, tensors={A: np.zeros((2, 1), np.float32)}))


def test_a_first_adapter_changes_nothing_and_follows_its_seed() -> None:
    spec = adapter(2, seed=0).spec
    first = initial_adapter(spec, {"h": (4, 3)}, seed=5)
    assert not first.tensors[B].any()
    assert np.abs(first.tensors[A]).max() <= 1 / np.sqrt(3)
    assert digest(first) == digest(initial_adapter(spec, {"h": (4, 3)}, seed=5))
    assert digest(first) != digest(initial_adapter(spec, {"h": (4, 3)}, seed=6))


@given(st.integers(1, 64), st.integers(1, 128))
def test_the_exact_spec_of_the_same_rank_is_the_very_same(rank: int, alpha: int) -> None:
    """16 / 49 * 49 is not 16, and specs are compared exactly."""
    like = adapter(rank, seed=0, alpha_per_rank=alpha / rank)
    like = Adapter(
        spec=AdapterSpec(
            base_model_fingerprint="f", rank=rank, alpha=float(alpha), target_modules=("h",)
        ),
        tensors=like.tensors,
    )
    rounded = Adapter(spec=part_spec(like.spec, rank), tensors=like.tensors)
    assert exact_spec(rounded, like).spec == like.spec
