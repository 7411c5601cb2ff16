"""FedOpt: adam and yogi by hand and by the paper's formulas; their state goes on as if unbroken."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter, AdapterSpec
from fl.aggregation.server_optimizer import server_optimizer
from fl.errors import FederationError, SettingsError
from tests.fl.adapters import drawn

LAYER = "base_model.model.h.0.c_attn"
SPEC = AdapterSpec(base_model_fingerprint="f", rank=1, alpha=2.0, target_modules=("c_attn",))


def of(a: float, b: float) -> Adapter:
    """One layer, rank 1, one input and one output."""
    tensors = {
        LAYER + A_SUFFIX: np.full((1, 1), a, np.float32),
        LAYER + B_SUFFIX: np.full((1, 1), b, np.float32),
    }
    return Adapter(spec=SPEC, tensors=tensors)


def entries(adapter: Adapter) -> tuple[float, float]:
    return (
        adapter.tensors[LAYER + A_SUFFIX].item(),
        adapter.tensors[LAYER + B_SUFFIX].item(),
    )


def test_none_is_the_mean_itself() -> None:
    optimizer, delta = server_optimizer("none", 0.003), drawn(1)
    assert optimizer.step(delta) is delta
    assert optimizer.state() == {}


def test_adam_by_hand() -> None:
    optimizer = server_optimizer("adam", 0.1)
    # D = 3: m = 0.1 * 3 = 0.3; v = 0.99 * 1e-6 + 0.01 * 9 = 0.09000099; sqrt v = 0.30000165
    # D = 0: m = 0, v = 0.99e-6
    first = entries(optimizer.step(of(3, 0)))
    assert first == pytest.approx((0.1 * 0.3 / 0.30100165, 0.0), rel=1e-6)
    # D = -1: m = 0.9 * 0.3 - 0.1 = 0.17; v = 0.99 * 0.09000099 + 0.01 = 0.0991009801
    # D = 2: m = 0.2; v = 0.99 * 0.99e-6 + 0.04 = 0.0400009801
    second = entries(optimizer.step(of(-1, 2)))
    assert second[0] == pytest.approx(0.1 * 0.17 / (math.sqrt(0.0991009801) + 0.001), rel=1e-6)
    assert second[1] == pytest.approx(0.1 * 0.2 / (math.sqrt(0.0400009801) + 0.001), rel=1e-6)


def test_yogi_by_hand() -> None:
    optimizer = server_optimizer("yogi", 0.1)
    # D = 3, v = 1e-6 < 9: v = 1e-6 + 0.01 * 9 = 0.090001; m = 0.3
    first = entries(optimizer.step(of(3, 0)))
    assert first == pytest.approx((0.1 * 0.3 / (math.sqrt(0.090001) + 0.001), 0.0), rel=1e-6)
    # D = 0.1, v = 0.090001 > 0.01: v = 0.090001 - 0.01 * 0.01 = 0.089901; m = 0.27 + 0.01 = 0.28
    # D = 2, v = 1e-6 (nothing came before): v = 1e-6 + 0.04 = 0.040001; m = 0.2
    second = entries(optimizer.step(of(0.1, 2)))
    assert second[0] == pytest.approx(0.1 * 0.28 / (math.sqrt(0.089901) + 0.001), rel=1e-6)
    assert second[1] == pytest.approx(0.1 * 0.2 / (math.sqrt(0.040001) + 0.001), rel=1e-6)


def by_the_paper(name: str, rate: float, deltas: Sequence[float]) -> list[float]:
    """Steps of one entry, in plain floats."""
    m, v, tau, steps = 0.0, 1e-6, 1e-3, []
    for delta in deltas:
        m = 0.9 * m + 0.1 * delta
        if name == "adam":
            v = 0.99 * v + 0.01 * delta**2
        else:
            sign = (v > delta**2) - (v < delta**2)
            v = v - 0.01 * delta**2 * sign
        steps.append(rate * m / (math.sqrt(v) + tau))
    return steps


@given(
    name=st.sampled_from(["adam", "yogi"]),
    rate=st.floats(1e-4, 1.0),
    deltas=st.lists(
        st.tuples(st.floats(-100, 100, width=32), st.floats(-(2**-10), 2**-10, width=32)),
        min_size=1,
        max_size=8,
    ),
)
def test_every_entry_goes_by_the_paper(
    name: str, rate: float, deltas: list[tuple[float, float]]
) -> None:
    optimizer = server_optimizer(name, rate)
    steps = [entries(optimizer.step(of(a, b))) for a, b in deltas]
    for place in range(2):
        expected = by_the_paper(name, rate, [delta[place] for delta in deltas])
        assert [step[place] for step in steps] == pytest.approx(expected, rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("name", ["adam", "yogi"])
def test_two_and_two_steps_are_four(name: str) -> None:
    unbroken, first = server_optimizer(name, 0.003), server_optimizer(name, 0.003)
    expected = [unbroken.step(drawn(seed)) for seed in range(4)]
    steps = [first.step(drawn(seed)) for seed in range(2)]
    kept = first.state()
    first.step(drawn(9))  # what is kept is a copy
    second = server_optimizer(name, 0.003)
    second.load(kept)
    steps += [second.step(drawn(seed)) for seed in range(2, 4)]
    for one, other in zip(steps, expected, strict=True):
        assert all(one.tensors[n].tobytes() == t.tobytes() for n, t in other.tensors.items())
        assert all(tensor.dtype == np.float32 for tensor in one.tensors.values())


def test_a_state_of_another_adapter_and_another_name_are_errors() -> None:
    optimizer = server_optimizer("adam", 0.003)
    optimizer.step(drawn(1))
    other = server_optimizer("adam", 0.003)
    other.load(optimizer.state())
    with pytest.raises(FederationError, match=r"has shape \(2, 2\), expected \(3, 2\)"):
        other.step(drawn(1, rank=3))
    with pytest.raises(SettingsError, match="none, adam or yogi, found 'adamw'"):
        server_optimizer("adamw", 0.003)
