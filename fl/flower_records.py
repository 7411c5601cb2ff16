"""What travels through Flower: our frozen values as RecordDicts, and back.

Every message holds one ConfigRecord with one JSON string (Flower's records hold no nested values)
and, where tensors travel, one ArrayRecord with PEFT's tensor names. The keys are spelled here and
nowhere else. What a site sends is untrusted: reading an update raises UpdateRefused for anything
that is not exactly what was written here; whether its values are acceptable is admission's matter.
"""

import json
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any, Literal, TypeVar

import numpy as np
from flwr.app import Array as FlowerArray
from flwr.app import ArrayRecord, ConfigRecord, RecordDict

from fl.adapter import Adapter, AdapterSpec, Array
from fl.errors import FederationError, UpdateRefused
from fl.release import Delivery
from fl.rounds import RoundPlan
from fl.settings import DEFAULT_CONFIG, Settings, load
from fl.update import AdapterUpdate

# Message types: the ClientApp registers them, the ServerApp sends them.
ROLL_CALL = "query"
CONTRIBUTE = "train"
SETTLE = "evaluate"

SITE_FAILED = 1001  # code of an error reply whose reason is the name of an exception type, no more

_JSON = "json"
_ARRAYS = "adapter"
_MAX_JSON_CHARACTERS = 100_000
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(
    rb"\{'descr': '([^']{2,8})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n"
)
_EXCEPTION_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")

Value = TypeVar("Value")


# --- run config: everybody's settings -------------------------------------------------------------


def run_settings(run_config: Mapping[str, object]) -> Settings:
    """The settings a Flower run was started with: a YAML file and key=value overrides.

    Raises SettingsError. Cached, because a simulation worker asks for them at every message.
    """
    return _load(str(run_config.get("config", "")), str(run_config.get("overrides", "")))


def join_overrides(arguments: Sequence[str]) -> str:
    """key=value arguments as the one string of the run config; quoted as in a shell."""
    return shlex.join(arguments)


@lru_cache(maxsize=4)
def _load(config: str, overrides: str) -> Settings:
    return load(shlex.split(overrides), config=config or DEFAULT_CONFIG)


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


def plan_records(plan: RoundPlan, release: Adapter, *, site_id: str) -> RecordDict:
    """One site's message of a round, and of the delivery of the last release."""
    body = {"site": site_id, "plan": asdict(plan), "spec": asdict(release.spec)}
    return _records(body, release.tensors)


def read_plan(records: RecordDict) -> tuple[str, RoundPlan, Adapter]:
    """(site id, plan, release). Raises FederationError when cloud and site differ in version."""
    try:
        body = _json(records)
        plan = _value(RoundPlan, body.get("plan"), what="plan")
        release = Adapter(spec=_spec(body.get("spec")), tensors=_tensors(records))
        return _string(body, "site"), plan, release
    except UpdateRefused as error:
        raise FederationError(f"The cloud's message cannot be read: {error}") from None


# --- site -> cloud: an update or a delivery, or the name of what went wrong -----------------------


def update_records(update: AdapterUpdate) -> RecordDict:
    """A site's reply to a plan."""
    body = {f.name: getattr(update, f.name) for f in fields(update) if f.name != "delta"}
    return _records({"update": body, "spec": asdict(update.delta.spec)}, update.delta.tensors)


def read_update(records: RecordDict) -> AdapterUpdate:
    """The update as the site claims it, values unchecked. Raises UpdateRefused if unreadable."""
    body = _json(records)
    claimed = body.get("update")
    names = {f.name for f in fields(AdapterUpdate)} - {"delta"}
    if not isinstance(claimed, dict) or claimed.keys() != names:
        raise UpdateRefused("the update's fields are not those of this version")
    delta = Adapter(spec=_spec(body.get("spec")), tensors=_tensors(records))
    return AdapterUpdate(**claimed, delta=delta)


def delivery_records(delivery: Delivery) -> RecordDict:
    """A site's reply to the last release."""
    return _records({"delivery": asdict(delivery)})


def read_delivery(records: RecordDict) -> Delivery:
    """A site's claim about the last release. Raises UpdateRefused if unreadable."""
    return _value(Delivery, _json(records).get("delivery"), what="delivery")


def failure_reason(error: BaseException) -> str:
    """What a site may say about its failure: the exception's type, never its text."""
    return type(error).__name__


def read_failure(*, code: int, reason: str) -> str:
    """A site's failure in words. A reason that is not a bare type name may quote private text."""
    named = code == SITE_FAILED and _EXCEPTION_NAME.fullmatch(reason)
    return f"the site failed: {reason}" if named else f"the site failed (error code {code})"


# --- records <-> plain values ---------------------------------------------------------------------


def _records(body: Mapping[str, Any], tensors: Mapping[str, Array] | None = None) -> RecordDict:
    records = RecordDict({_JSON: ConfigRecord({_JSON: json.dumps(body)})})
    if tensors is not None:
        arrays = {
            name: FlowerArray(np.ascontiguousarray(tensor)) for name, tensor in tensors.items()
        }
        records[_ARRAYS] = ArrayRecord(arrays)
    return records


def _json(records: RecordDict) -> dict[str, Any]:
    text = records.config_records.get(_JSON, ConfigRecord()).get(_JSON)
    if not isinstance(text, str) or len(text) > _MAX_JSON_CHARACTERS:
        raise UpdateRefused("the message holds no JSON of ours")
    try:
        body = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise UpdateRefused("the message's JSON cannot be read") from None
    if not isinstance(body, dict):
        raise UpdateRefused("the message's JSON is no object")
    return body


def _no_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _value(kind: type[Value], found: Any, *, what: str) -> Value:
    """`found` as the flat dataclass `kind`, every field present and of its type."""
    expected: dict[str, Any] = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise UpdateRefused(f"the {what}'s fields are not those of this version")
    for name, allowed in expected.items():
        numbers = (int, float) if allowed is float else (allowed,)
        # a comparison, not isfinite: that one raises on whole numbers beyond any float
        if type(found[name]) not in numbers or (allowed is float and not abs(found[name]) < 1e30):
            raise UpdateRefused(f"the {what}'s {name} is no {allowed.__name__}")
    return kind(**found)


def _string(body: Mapping[str, Any], key: str) -> str:
    if not isinstance(value := body.get(key), str):
        raise UpdateRefused(f"{key} is missing")
    return value


def _spec(found: Any) -> AdapterSpec:
    """An AdapterSpec whose values may be anything; comparing it with the right one decides."""
    names = {f.name for f in fields(AdapterSpec)}
    if not isinstance(found, dict) or found.keys() != names:
        raise UpdateRefused("the adapter's spec has other fields than those of this version")
    targets = found["target_modules"]
    if not isinstance(targets, list) or not all(isinstance(t, str) for t in targets):
        raise UpdateRefused("the adapter's target_modules are no list of names")
    return AdapterSpec(**{**found, "target_modules": tuple(targets)})


def _tensors(records: RecordDict) -> dict[str, Array]:
    arrays = records.array_records.get(_ARRAYS)
    if arrays is None or len(records.array_records) != 1:
        raise UpdateRefused("the message must hold exactly one set of tensors")
    return {name: _decode(name, array) for name, array in arrays.items()}


def _decode(name: str, array: FlowerArray) -> Array:
    """Plain npy bytes as an array, without numpy's own reader.

    That one evaluates the header's text, allocates what the header claims before it looks at the
    data, and opens archives. Here the header is matched, and must account for every byte.
    """
    data = bytes(array.data)
    end = 10 + int.from_bytes(data[8:10], "little")
    header = _NPY_HEADER.fullmatch(data[10:end])
    if not data.startswith(_NPY_MAGIC) or header is None:
        raise UpdateRefused(f"{_short(name)} is no plain array")
    descr, fortran, sizes = header.groups()
    if descr.decode() != np.dtype(np.float32).str:
        raise UpdateRefused(f"{_short(name)} has dtype {descr.decode()!r}, expected '<f4'")
    shape = tuple(int(size) for size in sizes.split(b",") if size.strip())
    count = 1
    for size in shape:
        count *= size
    if len(data) - end != 4 * count:
        raise UpdateRefused(f"{_short(name)} is truncated or has too many bytes")
    order: Literal["F", "C"] = "F" if fortran == b"True" else "C"
    flat = np.frombuffer(
        data, np.float32, offset=end
    ).copy()  # a copy, because torch wants to write
    return flat.reshape(shape, order=order)


def _short(name: str) -> str:
    """A tensor's name fit for a report: a site chose it, so it is cut and quoted."""
    return repr(name[-60:])
