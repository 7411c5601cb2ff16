"""Frozen values through Flower's records and back, and records that are not ours."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fl.adapter import digest
from fl.errors import FederationError, UpdateRefused
from fl.flower_records import (
    SITE_FAILED,
    delivery_records,
    failure_reason,
    join_overrides,
    plan_records,
    read_delivery,
    read_failure,
    read_plan,
    read_roll_call,
    read_update,
    roll_call_records,
    run_settings,
    update_records,
)
from fl.release import Delivery
from fl.rounds import RoundPlan
from tests.fl.adapters import drawn, update

PLAN = RoundPlan(
    federation="001",
    round_number=2,
    release_number=1,
    learning_rate=0.005,
    local_steps=3,
    batch_tokens=512,
    clip_norm=1.0,
    seed=0,
    deadline_s=60,
)


def test_values_come_back_as_they_left() -> None:
    release = drawn(1)
    site, plan, received = read_plan(plan_records(PLAN, release, site_id="oslo"))
    assert (site, plan) == ("oslo", PLAN)
    assert digest(received) == digest(release)
    sent = update(drawn(2))
    back = read_update(update_records(sent))
    assert replace(back, delta=sent.delta) == sent
    assert digest(back.delta) == digest(sent.delta)
    assert all(tensor.flags.writeable for tensor in back.delta.tensors.values())
    delivery = Delivery(
        site_id="oslo",
        release_number=4,
        shared_heldout_loss=2.0,
        settled_heldout_loss=1.5,
        seconds=1,
    )
    assert read_delivery(delivery_records(delivery)) == delivery
    assert read_roll_call(roll_call_records(["oslo", "rome"])) == ("oslo", "rome")


def test_fortran_order_is_read_as_written() -> None:
    records = update_records(update(drawn(2)))
    name = next(iter(drawn(2).tensors))
    records.array_records["adapter"][name] = Array(np.asfortranarray(drawn(2).tensors[name]))
    np.testing.assert_array_equal(read_update(records).delta.tensors[name], drawn(2).tensors[name])


def with_array(data: bytes) -> RecordDict:
    """A good update one of whose tensors has these bytes."""
    records = update_records(update(drawn(2)))
    name = next(iter(drawn(2).tensors))
    records.array_records["adapter"][name] = Array("float32", (2, 2), "numpy.ndarray", data)
    return records


def with_json(text: Any) -> RecordDict:
    records = update_records(update(drawn(2)))
    records["json"] = ConfigRecord({"json": text})
    return records


def _npy(array: np.ndarray) -> bytes:
    return Array(array).data


GOOD = _npy(np.zeros((2, 2), np.float32))
HUGE = GOOD.replace(b"(2, 2), }" + b" " * 20, b"(99999999999, 99999999999), }")


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (with_array(GOOD[:-1]), "truncated"),
        (with_array(GOOD + b"more"), "too many bytes"),
        (with_array(HUGE), "truncated"),  # claims 10^22 numbers: nothing is allocated
        (with_array(b""), "no plain array"),
        (with_array(b"PK\x03\x04" + GOOD), "no plain array"),  # an npz archive
        (with_array(GOOD.replace(b"'<f4'", b"'|O8'")), "dtype '|O8'"),  # would need pickle
        (with_array(_npy(np.zeros((2, 2)))), "dtype '<f8'"),
        (with_array(_npy(np.zeros(2, [("a", "f4")]))), "no plain array"),
        (with_json("{"), "cannot be read"),
        (with_json("[" * 50_000), "cannot be read"),
        (with_json("[]"), "no object"),
        (with_json("{}"), "fields"),
        (with_json('{"update": {}, "update": {}}'), "cannot be read"),  # a key twice
        (with_json("x" * 200_000), "no JSON of ours"),
        (with_json(7), "no JSON of ours"),
        (RecordDict(), "no JSON of ours"),
        (RecordDict({"json": update_records(update(drawn(2)))["json"]}), "exactly one set"),
        (
            RecordDict({**update_records(update(drawn(2))), "more": ArrayRecord()}),
            "exactly one set",
        ),
    ],
)
def test_an_update_that_is_not_ours_is_refused(records: RecordDict, said: str) -> None:
    with pytest.raises(UpdateRefused, match=said.replace("|", r"\|")):
        read_update(records)


def test_a_plan_of_another_version_is_an_error_at_the_site() -> None:
    records = plan_records(PLAN, drawn(1), site_id="oslo")
    body = json.loads(str(records.config_records["json"]["json"]))
    body["plan"]["local_steps"] = "many"
    records["json"] = ConfigRecord({"json": json.dumps(body)})
    with pytest.raises(FederationError, match="local_steps is no int"):
        read_plan(records)


def test_a_delivery_with_an_absurd_loss_is_refused() -> None:
    records = RecordDict(
        {
            "json": ConfigRecord(
                {
                    "json": '{"delivery": {"site_id": "oslo", "release_number": 4, '
                    '"shared_heldout_loss": NaN, "settled_heldout_loss": 1.0, "seconds": 1}}'
                }
            )
        }
    )
    with pytest.raises(UpdateRefused, match="shared_heldout_loss"):
        read_delivery(records)


def test_a_failure_is_told_by_its_type_alone() -> None:
    reason = failure_reason(KeyError("take me to the clinic"))
    assert read_failure(code=SITE_FAILED, reason=reason) == "the site failed: KeyError"
    # Flower's own error replies quote the exception's text
    quoting = "<class 'ValueError'>:<'take me to the clinic'>"
    for code in (SITE_FAILED, 2):
        assert "clinic" not in read_failure(code=code, reason=quoting)


def test_run_config_carries_overrides_with_any_character() -> None:
    overrides = join_overrides(["rounds=7", "var=it's here", "learning.target_modules=[c_attn]"])
    settings = run_settings({"config": "configs/embedded.yaml", "overrides": overrides})
    assert settings.rounds == 7
    assert settings.var == "it's here"
    assert settings.learning.target_modules == ["c_attn"]
