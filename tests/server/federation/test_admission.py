"""Nothing a site sends is trusted: every fault is refused with its reason, and alone."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fl.adapter import Adapter, norm
from fl.errors import UpdateRefused
from fl.release import Judgement
from fl.settings import load
from fl.update import AdapterUpdate
from server.federation.admission import Admission, check_judgement
from tests.fl.adapters import drawn, update
from tests.fl.plans import fedavg_plan

RELEASE = drawn(0)
NAMES = list(RELEASE.tensors)
LIMITS = replace(load().federation, max_update_norm=50.0, max_examples=1000)
PLAN = fedavg_plan()
JUDGEMENT = Judgement(release_number=0, loss=1.0, current_number=0, current_loss=1.5)


def admission() -> Admission:
    return Admission(PLAN, RELEASE, expected_sites=["oslo", "rome"], settings=LIMITS)


def tensors(change: Callable[[dict[str, Any]], None]) -> AdapterUpdate:
    """A good update whose tensors are changed."""
    changed = {name: tensor.copy() for name, tensor in drawn(1).tensors.items()}
    change(changed)
    return update(replace(drawn(1), tensors=changed))


def value(number: float) -> AdapterUpdate:
    return tensors(lambda t: t[NAMES[0]].__setitem__((0, 0), number))


def claims(**fields: Any) -> AdapterUpdate:
    return replace(update(drawn(1)), **fields)


def spec(**fields: Any) -> AdapterUpdate:
    return update(replace(drawn(1), spec=replace(RELEASE.spec, **fields)))


def scaled(factor: float) -> AdapterUpdate:
    return update(
        Adapter(
            spec=RELEASE.spec,
            tensors={n: t * np.float32(factor) for n, t in drawn(1).tensors.items()},
        )
    )


def set_tensor(tensor: Any) -> AdapterUpdate:
    return tensors(lambda t: t.__setitem__(NAMES[0], tensor))


FAULTS = [
    # values
    ("NaN", value(np.nan), "NaN or infinity"),
    ("inf", value(np.inf), "NaN or infinity"),
    ("norm 1e30", value(1e30), "above federation.max_update_norm"),
    ("scaled x100", scaled(100), "above federation.max_update_norm"),
    ("all zero", scaled(0), "all zero"),
    # form
    ("wrong shape", set_tensor(np.ones((2, 5), np.float32)), "has shape (2, 5), expected (2, 2)"),
    ("broadcastable row", set_tensor(np.ones((1, 2), np.float32)), "has shape (1, 2)"),
    ("broadcastable scalar", set_tensor(np.float32(1) * np.ones((), np.float32)), "has shape ()"),
    ("zero size", set_tensor(np.ones((0, 2), np.float32)), "has shape (0, 2)"),
    ("float64", set_tensor(np.ones((2, 2))), "dtype float64"),
    ("int64", set_tensor(np.ones((2, 2), np.int64)), "dtype int64"),
    ("missing tensor", tensors(lambda t: t.pop(NAMES[0])), "1 of 4 tensors are missing"),
    ("extra tensor", tensors(lambda t: t.update(more=t[NAMES[0]])), "1 tensors are not part"),
    ("renamed tensor", tensors(lambda t: t.update(new=t.pop(NAMES[0]))), "tensors are missing"),
    (
        "another rank",
        update(drawn(1, rank=3)),
        "its rank is 3, method=fedavg takes 2 (mixed ranks: flora, flexlora)",
    ),
    ("another base", spec(base_model_fingerprint="1" * 64), "another base_model_fingerprint"),
    ("another alpha", spec(alpha=8.0), "another alpha"),
    ("other targets", spec(target_modules=("c_attn",)), "another target_modules"),
    # numbers
    ("no examples", claims(num_examples=0), "num_examples must be a whole number"),
    ("negative examples", claims(num_examples=-5), "num_examples"),
    ("NaN examples", claims(num_examples=float("nan")), "found nan"),
    ("1e18 examples", claims(num_examples=10**18), "from 1 to 1000"),
    ("1e400 examples", claims(num_examples=10**400), "found a huge number"),
    ("examples as float", claims(num_examples=10.0), "num_examples"),
    ("examples as list", claims(num_examples=[10]), "found a list"),
    ("examples as bool", claims(num_examples=True), "found a bool"),
    ("loss as list", claims(heldout_loss=[2.0]), "heldout_loss must be a number"),
    ("loss NaN", claims(train_loss=float("nan")), "train_loss must be a number"),
    ("loss as text", claims(train_loss="low"), "found a str"),
    ("negative seconds", claims(seconds=-1.0), "seconds must be a number"),
    ("a judgement nobody asked for", claims(judgement=JUDGEMENT), "none was to be judged"),
    # freshness
    ("stale round", claims(round_number=0), "made for round 0, this is round 1"),
    ("future round", claims(round_number=2), "made for round 2"),
    ("round as bool", claims(round_number=True), "made for round a bool"),
    ("stale release", claims(based_on_release=7), "based on release 7"),
    # identity
    ("another site's name", claims(site_id="rome"), "under another name"),
    ("site not asked", claims(site_id="bonn"), "was not asked"),
]


@pytest.mark.parametrize(
    ("faulty", "said"), [fault[1:] for fault in FAULTS], ids=[fault[0] for fault in FAULTS]
)
def test_a_fault_is_refused_with_its_reason_and_the_round_goes_on(
    faulty: AdapterUpdate, said: str
) -> None:
    gate = admission()
    addressed_to = "bonn" if faulty.site_id == "bonn" else "oslo"
    with pytest.raises(UpdateRefused) as refused:
        gate.admit(faulty, addressed_to=addressed_to)
    assert said in str(refused.value)
    # the same gate still takes good ones, also of the site that was refused
    assert gate.admit(update(drawn(1)), addressed_to="oslo") == norm(drawn(1))
    gate.admit(update(drawn(2), site_id="rome"), addressed_to="rome")


def test_a_site_counts_once_and_a_copy_of_another_site_not_at_all() -> None:
    gate = admission()
    gate.admit(update(drawn(1)), addressed_to="oslo")
    with pytest.raises(UpdateRefused, match="second update"):
        gate.admit(update(drawn(2)), addressed_to="oslo")
    with pytest.raises(UpdateRefused, match="a copy of the update of oslo"):
        gate.admit(update(drawn(1), site_id="rome"), addressed_to="rome")


def test_a_flipped_sign_passes_within_the_norm_bound() -> None:
    """One update alone does not tell; stated so that nobody believes otherwise."""
    assert admission().admit(scaled(-1), addressed_to="oslo") == pytest.approx(norm(drawn(1)))


def test_a_judgement_compares_what_was_asked_with_sound_numbers() -> None:
    plan = replace(PLAN, round_number=4, release_number=3, current_release=1)
    good = Judgement(release_number=3, loss=1, current_number=1, current_loss=0.0)
    check_judgement(good, plan)
    bad: list[tuple[dict[str, Any], str]] = [
        ({"release_number": 2}, "compares release 2 with release 1, release 3 was to be"),
        ({"current_number": 3}, "compares release 3 with release 3"),
        ({"release_number": True}, "compares release a bool"),
        ({"loss": float("nan")}, "its judgement's loss must be a number, 0 or more, found nan"),
        ({"loss": float("inf")}, "found a huge number"),
        ({"current_loss": -1}, "its judgement's current_loss must be"),
        ({"current_loss": 10**400}, "found a huge number"),
        ({"loss": "low"}, "found a str"),
    ]
    for fields, said in bad:
        with pytest.raises(UpdateRefused, match=said):
            check_judgement(replace(good, **fields), plan)
