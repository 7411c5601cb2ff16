"""Frozen values through Flower's records and back, and records that are not ours."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fl.adapter import digest
from fl.errors import FederationError, ReleaseError, UpdateRefused
from fl.flower_records import (
    SITE_FAILED,
    delivery_records,
    failure_reason,
    judgement_records,
    plan_records,
    read_delivery,
    read_failure,
    read_judgement,
    read_plan,
    read_roll_call,
    read_update,
    records_from_parts,
    records_to_parts,
    roll_call_records,
    update_records,
)
from fl.release import Delivery, Judgement
from fl.run_config import join_overrides, run_settings
from tests.fl.adapters import drawn, update
from tests.fl.plans import fedavg_plan
from tests.fl.releases import CLOUD_KEY, OTHER_CLOUD_KEY, signed

PLAN = fedavg_plan(round_number=2, release_number=1, deadline_s=60)
JUDGEMENT = Judgement(release_number=1, loss=1.25, current_number=0, current_loss=2)


def test_values_come_back_as_they_left() -> None:
    release = signed(1)
    site, plan, received = read_plan(plan_records(PLAN, release, site_id="oslo"))
    assert (site, plan) == ("oslo", PLAN)
    opened = received.open(CLOUD_KEY)
    assert replace(opened, shared=release.shared) == release
    assert digest(opened.shared) == digest(release.shared)
    for sent in (update(drawn(2)), replace(update(drawn(2)), judgement=JUDGEMENT)):
        back = read_update(update_records(sent))
        assert replace(back, delta=sent.delta) == sent
        assert digest(back.delta) == digest(sent.delta)
        assert all(tensor.flags.writeable for tensor in back.delta.tensors.values())
    assert read_judgement(judgement_records("oslo", JUDGEMENT)) == ("oslo", JUDGEMENT)
    delivery = Delivery(
        site_id="oslo",
        release_number=4,
        shared_heldout_loss=2.0,
        settled_heldout_loss=1.5,
        seconds=1,
    )
    assert read_delivery(delivery_records(delivery)) == delivery
    assert read_roll_call(roll_call_records(["oslo", "rome"])) == ("oslo", "rome")


def test_a_release_that_the_cloud_did_not_sign_is_read_but_not_opened() -> None:
    _, _, received = read_plan(plan_records(PLAN, signed(1), site_id="oslo"))
    with pytest.raises(ReleaseError, match="another cloud made it"):
        received.open(OTHER_CLOUD_KEY)
    with pytest.raises(ReleaseError, match="says digest"):
        replace(received, shared=drawn(2)).open(CLOUD_KEY)


@pytest.mark.parametrize(
    "records",
    [
        update_records(replace(update(drawn(2)), judgement=JUDGEMENT)),
        plan_records(PLAN, signed(1), site_id="oslo"),
        judgement_records("oslo", JUDGEMENT),
        roll_call_records(),
    ],
)
def test_a_message_survives_a_hop_as_plain_parts(records: RecordDict) -> None:
    text, arrays = records_to_parts(records)
    assert all(data.startswith(b"\x93NUMPY") for data in arrays.values())
    assert records_from_parts(text, arrays) == records


def test_parts_that_are_no_message_are_refused() -> None:
    text, arrays = records_to_parts(update_records(update(drawn(2))))
    with pytest.raises(UpdateRefused, match="no plain array"):
        records_from_parts(text, {**arrays, "more": b"PK"})
    with pytest.raises(UpdateRefused, match="no object"):
        records_from_parts("[]", arrays)
    for bad in (
        RecordDict(),
        RecordDict({"json": ConfigRecord({"json": "{}"}), "more": ArrayRecord()}),
    ):
        with pytest.raises(UpdateRefused):
            records_to_parts(bad)


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


def _claiming(shape: bytes) -> bytes:
    """An array of this shape that holds no number."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (" + shape + b"), }"
    return b"\x93NUMPY\x01\x00\x76\x00" + header.ljust(0x75) + b"\n"


def with_judgement(**changes: Any) -> RecordDict:
    """A good update whose judgement has these values."""
    records = update_records(replace(update(drawn(2)), judgement=JUDGEMENT))
    body = json.loads(str(records.config_records["json"]["json"]))
    body["update"]["judgement"].update(changes)
    records["json"] = ConfigRecord({"json": json.dumps(body)})
    return records


def with_whole_judgement(judgement: Any) -> RecordDict:
    """A good update with this in the place of a judgement."""
    records = update_records(update(drawn(2)))
    body = json.loads(str(records.config_records["json"]["json"]))
    body["update"]["judgement"] = judgement
    records["json"] = ConfigRecord({"json": json.dumps(body)})
    return records


@pytest.mark.parametrize(
    ("records", "said"),
    [
        (with_array(GOOD[:-1]), "truncated"),
        (with_array(GOOD + b"more"), "too many bytes"),
        (
            with_array(_claiming(b"99999999999, 99999999999")),
            "truncated",
        ),  # claims 10^22 numbers: nothing is allocated
        (with_array(_claiming(b"0, 999999999999, 999999999999")), "impossible shape"),
        (with_array(GOOD.replace(b"(2, 2)", b"(2  2)")), "no plain array"),
        (with_array(GOOD.replace(b"'<f4'", b"'\xff\xfe\xff'")), "dtype 'ÿþÿ'"),
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
        (with_judgement(loss=float("nan")), "judgement's loss is no float"),
        (with_judgement(loss=10**400), "judgement's loss is no float"),
        (with_judgement(loss="2"), "judgement's loss is no float"),
        (with_judgement(release_number=1.0), "judgement's release_number is no int"),
        (with_judgement(release_number=True), "judgement's release_number is no int"),
        (with_judgement(current_number=10**30), "judgement's current_number is no int"),
        (with_judgement(more=1), "judgement's fields"),
        (with_whole_judgement([]), "judgement's fields"),
        (with_whole_judgement(False), "judgement's fields"),
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


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("plan", "local_steps"), "many", "local_steps is no int"),
        (("plan", "current_release"), None, "current_release is no int"),
        (("plan",), {}, "plan's fields"),
        (("manifest",), None, "manifest is missing"),
        (("manifest",), "\ud800", "manifest cannot be read"),
        (("signature",), "xyz", "signature cannot be read"),
        (("site",), 3, "site is missing"),
        (("spec",), [], "spec has other fields"),
    ],
)
def test_a_plan_of_another_version_is_an_error_at_the_site(
    path: tuple[str, ...], value: Any, said: str
) -> None:
    records = plan_records(PLAN, signed(1), site_id="oslo")
    body = json.loads(str(records.config_records["json"]["json"]))
    inner = body
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    records["json"] = ConfigRecord({"json": json.dumps(body)})
    with pytest.raises(FederationError, match=said):
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
