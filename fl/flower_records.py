"""What travels through Flower: our frozen values as RecordDicts, and back.

Every message holds one ConfigRecord with one JSON string (Flower's records hold no nested values)
and, where tensors travel, one ArrayRecord with PEFT's tensor names. The keys are spelled here and
nowhere else. What a site sends is untrusted: reading it raises UpdateRefused for anything that is
not exactly what was written here; whether its values are acceptable is admission's matter.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, RecordDict
from flwr.common.serde import recorddict_to_proto

from fl.errors import FederationError, UpdateRefused
from fl.flower_values import decode_npy, parse_json, read_spec, read_string, read_value
from fl.known_tensors import filled, layer_sizes, to_send
from fl.release import AdapterRelease, Delivery, Judgement
from fl.release_file import SentRelease
from fl.rounds import RoundPlan
from fl.update import AdapterUpdate
from fl.uplink import UPLINKS, Packed, pack, unpack

# Message types: the ClientApp registers them, the ServerApp sends them.
ROLL_CALL = "query"
CONTRIBUTE = "train"
JUDGE = "evaluate.judge"
SETTLE = "evaluate.settle"

SITE_FAILED = 1001  # code of an error reply whose reason is the name of an exception type, no more

_TENSORS_OF = {"delta", "packed"}  # fields of an update that are no JSON
_JSON = "json"
_ARRAYS = "adapter"
_EXCEPTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


# --- roll call: which sites does a node host? -----------------------------------------------------


def roll_call_records(sites: Iterable[str] = ()) -> RecordDict:
    """The question (no sites) or a node's answer (the ids of the sites it hosts)."""
    return _records({"sites": list(sites)})


def read_roll_call(records: RecordDict) -> tuple[str, ...]:
    """Site ids in a node's answer; an answer that is none hosts nothing."""
    try:
        sites = _json(records).get("sites")
    except UpdateRefused:
        return ()
    return tuple(s for s in sites if isinstance(s, str)) if isinstance(sites, list) else ()


# --- cloud -> site: a plan and the release to start from ------------------------------------------


def plan_records(plan: RoundPlan, release: AdapterRelease, *, site_id: str) -> RecordDict:
    """One site's message: of a round, of a judgement alone, of the delivery of the last release."""
    body = {
        "site": site_id,
        "plan": asdict(plan),
        "spec": asdict(release.shared.spec),
        "layers": layer_sizes(release.shared),
        "manifest": release.manifest.decode("ascii"),
        "signature": release.signature.hex(),
    }
    return _records(body, to_send(release.shared, seed=plan.seed))


def read_plan(records: RecordDict) -> tuple[str, RoundPlan, SentRelease]:
    """(site id, plan, release as it was sent; its `open` tells whether the cloud signed it).

    Raises FederationError when cloud and site differ in version.
    """
    try:
        body = _json(records)
        plan = read_value(RoundPlan, body.get("plan"), what="plan")
        tensors = _tensors(records) if records.array_records else {}
        if odd := {t.dtype for t in tensors.values()} - {np.dtype(np.float32)}:
            raise UpdateRefused(f"a tensor of the release has dtype {min(map(str, odd))}")
        sizes = body.get("layers")
        if not isinstance(sizes, dict):
            raise UpdateRefused("layers is missing")
        sent = SentRelease(
            manifest=_bytes(body, "manifest", as_hex=False),
            signature=_bytes(body, "signature", as_hex=True),
            shared=filled(tensors, read_spec(body.get("spec")), sizes, seed=plan.seed),
        )
        return read_string(body, "site"), plan, sent
    except UpdateRefused as error:
        raise FederationError(f"The cloud's message cannot be read: {error}") from None


# --- site -> cloud: an update, a judgement, a delivery, or the name of what went wrong ------------


def update_records(update: AdapterUpdate) -> RecordDict:
    """A site's reply to a plan."""
    body = {f.name: getattr(update, f.name) for f in fields(update) if f.name not in _TENSORS_OF}
    if update.judgement is not None:
        body["judgement"] = asdict(update.judgement)
    packed = update.packed or pack(update.delta, update.uplink)
    return _records({"update": body, "spec": asdict(update.delta.spec)}, packed.arrays)


def read_update(records: RecordDict) -> AdapterUpdate:
    """The update as the site claims it, values unchecked. Raises UpdateRefused if unreadable."""
    body = _json(records)
    claimed = body.get("update")
    names = {f.name for f in fields(AdapterUpdate)} - _TENSORS_OF
    if not isinstance(claimed, dict) or claimed.keys() != names:
        raise UpdateRefused("the update's fields are not those of this version")
    if claimed["judgement"] is not None:
        claimed["judgement"] = read_value(Judgement, claimed["judgement"], what="judgement")
    if claimed["uplink"] not in UPLINKS:
        raise UpdateRefused(f"its uplink is none of {', '.join(UPLINKS)}")
    packed = Packed(uplink=claimed["uplink"], arrays=_tensors(records))
    return AdapterUpdate(**claimed, delta=unpack(packed, read_spec(body.get("spec"))))


def judgement_records(site_id: str, judgement: Judgement) -> RecordDict:
    """A site's reply to a candidate that it was sent to judge, not to learn from."""
    return _records({"site": site_id, "judgement": asdict(judgement)})


def read_judgement(records: RecordDict) -> tuple[str, Judgement]:
    """(site id, judgement) as the site claims them. Raises UpdateRefused if unreadable."""
    body = _json(records)
    judgement = read_value(Judgement, body.get("judgement"), what="judgement")
    return read_string(body, "site"), judgement


def delivery_records(delivery: Delivery) -> RecordDict:
    """A site's reply to the last release."""
    return _records({"delivery": asdict(delivery)})


def read_delivery(records: RecordDict) -> Delivery:
    """A site's claim about the last release. Raises UpdateRefused if unreadable."""
    return read_value(Delivery, _json(records).get("delivery"), what="delivery")


def failure_reason(error: BaseException) -> str:
    """What a site may say about its failure: the exception's type, never its text."""
    return type(error).__name__


def read_failure(*, code: int, reason: str) -> str:
    """A site's failure in words. A reason that is not a bare type name may quote private text."""
    named = code == SITE_FAILED and _EXCEPTION_NAME.fullmatch(reason)
    return f"the site failed: {reason}" if named else f"the site failed (error code {code})"


# --- what a message weighs ------------------------------------------------------------------------


def wire_bytes(records: RecordDict) -> int:
    """Bytes of a message's content, serialised as Flower sends it."""
    size: int = recorddict_to_proto(records).ByteSize()
    return size


# --- one message as plain parts, for a hop that is not Flower's -----------------------------------


def records_to_parts(records: RecordDict) -> tuple[str, dict[str, bytes]]:
    """(JSON text, npy bytes by tensor name; none where no tensors travel).

    Raises UpdateRefused for what is no message of ours.
    """
    text = _text(records)
    parse_json(text)
    arrays = records.array_records.get(_ARRAYS)
    if len(records.array_records) > (arrays is not None):
        raise UpdateRefused("the message must hold exactly one set of tensors")
    return text, {name: bytes(array.data) for name, array in (arrays or {}).items()}


def records_from_parts(text: str, arrays: Mapping[str, bytes]) -> RecordDict:
    """The message again. Raises UpdateRefused for bytes that are no plain float32 array."""
    parse_json(text)
    return _as_records(text, {name: decode_npy(name, data) for name, data in arrays.items()})


# --- records <-> plain values ---------------------------------------------------------------------


def _records(
    body: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]] | None = None
) -> RecordDict:
    return _as_records(json.dumps(body), tensors or {})


def _as_records(text: str, tensors: Mapping[str, npt.NDArray[Any]]) -> RecordDict:
    records = RecordDict({_JSON: ConfigRecord({_JSON: text})})
    if tensors:
        arrays = {
            name: FlowerArray(np.ascontiguousarray(tensor)) for name, tensor in tensors.items()
        }
        records[_ARRAYS] = ArrayRecord(arrays)
    return records


def _text(records: RecordDict) -> str:
    text = records.config_records.get(_JSON, ConfigRecord()).get(_JSON)
    if not isinstance(text, str):
        raise UpdateRefused("the message holds no JSON of ours")
    return text


def _json(records: RecordDict) -> dict[str, Any]:
    return parse_json(_text(records))


def _bytes(body: dict[str, Any], key: str, *, as_hex: bool) -> bytes:
    text = read_string(body, key)
    try:
        return bytes.fromhex(text) if as_hex else text.encode("ascii")
    except ValueError:
        raise UpdateRefused(f"{key} cannot be read") from None


def _tensors(records: RecordDict) -> dict[str, npt.NDArray[Any]]:
    arrays = records.array_records.get(_ARRAYS)
    if arrays is None or len(records.array_records) != 1:
        raise UpdateRefused("the message must hold exactly one set of tensors")
    return {name: decode_npy(name, bytes(array.data)) for name, array in arrays.items()}
