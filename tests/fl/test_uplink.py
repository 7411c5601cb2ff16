"""Numbers on the wire: int8 by hand, every uplink there and back, what is no packing of ours."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fl.adapter import A_SUFFIX, B_SUFFIX, Adapter, AdapterSpec, digest, initial_adapter
from fl.errors import FederationError, UpdateRefused
from fl.flower_records import plan_records, read_plan, read_update, update_records, wire_bytes
from fl.known_tensors import filled, layer_sizes, to_send
from fl.uplink import SCALE, UPLINKS, Packed, pack, unpack
from tests.fl.adapters import LAYERS, drawn, spec, update
from tests.fl.plans import fedavg_plan
from tests.fl.releases import CLOUD_KEY, signed

LAYER = "base_model.model.h.0.c_attn"


def test_int8_by_hand() -> None:
    """A has a scale a row, B a scale a column: 2.54 / 127 = 0.02, 1.27 / 127 = 0.01."""
    one = AdapterSpec(base_model_fingerprint="f", rank=2, alpha=2.0, target_modules=("c_attn",))
    a = np.array([[2.54, -0.039], [0.0, 0.0]], np.float32)
    b = np.array([[1.27, 0.0], [-0.634, 0.0]], np.float32)
    delta = Adapter(spec=one, tensors={LAYER + A_SUFFIX: a, LAYER + B_SUFFIX: b})
    packed = pack(delta, "int8")
    np.testing.assert_array_equal(packed.arrays[LAYER + A_SUFFIX], [[127, -2], [0, 0]])
    np.testing.assert_array_equal(packed.arrays[LAYER + B_SUFFIX], [[127, 0], [-63, 0]])
    np.testing.assert_allclose(packed.arrays[LAYER + A_SUFFIX + SCALE], [0.02, 0.0], rtol=1e-6)
    seen = unpack(packed, one)
    np.testing.assert_allclose(seen.tensors[LAYER + B_SUFFIX], [[1.27, 0], [-0.63, 0]], rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.sampled_from([1e-6, 1.0, 1e4]))
def test_what_is_seen_is_near_and_the_rest_is_exact(seed: int, size: float) -> None:
    delta = drawn(seed, size=size)
    for uplink, share in (("float32", 0.0), ("float16", 2**-10), ("int8", 0.51 / 127)):
        packed = pack(delta, uplink)
        seen = unpack(packed, delta.spec)
        for name, tensor in delta.tensors.items():
            largest = np.abs(tensor).max(axis=1 if name.endswith(A_SUFFIX) else 0, keepdims=True)
            missed = np.abs(seen.tensors[name] - tensor)
            assert (missed <= share * largest + 1e-7).all()
            rest = tensor - seen.tensors[name]
            np.testing.assert_allclose(rest + seen.tensors[name], tensor, rtol=1e-6, atol=1e-12)


def test_over_rounds_nothing_is_lost_and_the_rest_does_not_grow() -> None:
    """Error feedback: the sum of what is seen is the sum of what was meant, within half a step."""
    meant, seen, rest = 0.0, 0.0, 0.0
    name = next(iter(drawn(0).tensors))
    for number in range(200):
        delta = drawn(number)
        wanted = {n: t + (rest if n == name else 0.0) for n, t in delta.tensors.items()}
        packed = pack(Adapter(spec=delta.spec, tensors=wanted), "int8")
        got = unpack(packed, delta.spec).tensors[name]
        meant, seen = meant + delta.tensors[name].astype(np.float64), seen + got.astype(np.float64)
        rest = wanted[name] - got
        half_step = 0.5 * packed.arrays[name + SCALE][:, None]
        assert (np.abs(meant - seen) <= half_step * 1.01 + 1e-4).all()


def test_an_update_travels_smaller() -> None:
    delta = initial_adapter(
        replace(spec(), rank=8, alpha=16.0), {"h.0.c_attn": (2304, 768)}, seed=0
    )
    sizes = {}
    for uplink in UPLINKS:
        sent = replace(update(delta), uplink=uplink)
        records = update_records(sent)
        sizes[uplink] = wire_bytes(records)
        back = read_update(records)
        assert back.uplink == uplink
        assert digest(back.delta) == digest(unpack(pack(delta, uplink), delta.spec))
    numbers = sum(tensor.size for tensor in delta.tensors.values())
    assert 4 * numbers < sizes["float32"] < 4 * numbers + 2000
    assert 2 * numbers < sizes["float16"] < 2 * numbers + 2000
    assert numbers < sizes["int8"] < numbers + 3000


def broken(change: dict[str, object]) -> Packed:
    packed = pack(drawn(1), "int8")
    arrays = {**packed.arrays, **change}
    return Packed(uplink="int8", arrays={n: a for n, a in arrays.items() if a is not None})  # type: ignore[misc]


NAME = next(iter(drawn(1).tensors))


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (broken({NAME + SCALE: None}), "scales of a tensor are missing"),
        (broken({NAME + SCALE: np.ones(3, np.float32)}), "of another shape"),
        (broken({NAME + SCALE: np.array([1, np.nan], np.float32)}), "negative or no number"),
        (broken({NAME: np.ones((2, 2), np.float32)}), "dtype float32, expected int8"),
        (broken({"more" + SCALE: np.ones(2, np.float32)}), "scales without a tensor"),
        (Packed(uplink="float16", arrays=pack(drawn(1), "float32").arrays), "expected float16"),
    ],
)
def test_what_is_no_packing_of_ours_is_refused(packed: Packed, says: str) -> None:
    with pytest.raises(UpdateRefused, match=says):
        unpack(packed, drawn(1).spec)


# --- what need not travel down ---


def test_zeros_and_first_draws_are_filled_in_bit_by_bit() -> None:
    first = initial_adapter(spec(), LAYERS, seed=7)
    assert to_send(first, seed=7) == {}
    assert to_send(first, seed=8).keys() == {n for n in first.tensors if n.endswith(A_SUFFIX)}
    moved = {n: t + 1 if n.endswith(B_SUFFIX) else t for n, t in first.tensors.items()}
    later = Adapter(spec=first.spec, tensors=moved)
    sent = to_send(later, seed=7)
    assert sent.keys() == {n for n in first.tensors if n.endswith(B_SUFFIX)}
    again = filled(sent, later.spec, layer_sizes(later), seed=7)
    assert digest(again) == digest(later)
    # equal to 0 is not the same bits
    minus = {n: -t if n.endswith(B_SUFFIX) else t for n, t in first.tensors.items()}
    assert len(to_send(Adapter(spec=first.spec, tensors=minus), seed=7)) == len(LAYERS)


def test_a_first_release_weighs_next_to_nothing() -> None:
    plan = fedavg_plan(seed=0)
    release = signed(0)
    heavy = wire_bytes(plan_records(replace(plan, seed=1), release, site_id="oslo"))
    first = initial_adapter(release.shared.spec, LAYERS, seed=0)
    assert wire_bytes(plan_records(plan, replace(release, shared=first), site_id="oslo")) < heavy
    _, _, sent = read_plan(plan_records(replace(plan, seed=1), release, site_id="oslo"))
    assert digest(sent.open(CLOUD_KEY).shared) == digest(release.shared)


@pytest.mark.parametrize(
    "sizes", [{"h.0.c_attn": [2]}, {"h.0.c_attn": [2, 0]}, {"h": [1 << 29, 1]}, {"h": "ab"}]
)
def test_sizes_that_are_none_are_refused(sizes: dict[str, object]) -> None:
    with pytest.raises(UpdateRefused):
        filled({}, spec(), sizes, seed=0)


def test_a_release_of_another_dtype_is_refused() -> None:
    records = plan_records(fedavg_plan(), signed(1), site_id="oslo")
    from flwr.app import Array, ArrayRecord

    arrays = {n: Array(a.numpy().astype(np.float16)) for n, a in records["adapter"].items()}
    records["adapter"] = ArrayRecord(arrays)
    with pytest.raises(FederationError, match="dtype float16"):
        read_plan(records)
