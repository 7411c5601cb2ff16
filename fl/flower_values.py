"""JSON and npy bytes of a message as our frozen values. What a site sends is untrusted.

Everything here raises UpdateRefused for what is not exactly what our side writes, and nothing else,
whatever the bytes are. Whether the values are acceptable is for others to decide.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from fl.adapter import AdapterSpec
from fl.errors import UpdateRefused

_MAX_JSON_CHARACTERS = 100_000
_NPY_MAGIC = b"\x93NUMPY\x01\x00"
_NPY_HEADER = re.compile(
    rb"\{'descr': '([^']{2,8})', 'fortran_order': (True|False), "
    rb"'shape': \(((?:\d{1,12}, ?){0,7}(?:\d{1,12})?)\), \} *\n"
)
_DTYPES = {dtype.str: dtype for dtype in map(np.dtype, (np.float32, np.float16, np.int8))}

Value = TypeVar("Value")


def parse_json(text: object) -> dict[str, Any]:
    """The object of a JSON text."""
    if not isinstance(text, str) or len(text) > _MAX_JSON_CHARACTERS:
        raise UpdateRefused("the message holds no JSON of ours")
    try:
        body = json.loads(text, object_pairs_hook=_no_duplicates)
    except (ValueError, RecursionError):
        raise UpdateRefused("the message's JSON cannot be read") from None
    if not isinstance(body, dict):
        raise UpdateRefused("the message's JSON is no object")
    return body


def read_value(kind: type[Value], found: Any, *, what: str) -> Value:
    """`found` as the flat dataclass `kind`, every field present and of its type."""
    expected: dict[str, Any] = {f.name: f.type for f in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(found, dict) or found.keys() != expected.keys():
        raise UpdateRefused(f"the {what}'s fields are not those of this version")
    for name, allowed in expected.items():
        if not _is(allowed, found[name]):
            raise UpdateRefused(f"the {what}'s {name} is no {allowed.__name__}")
    return kind(**found)


def read_string(body: dict[str, Any], key: str) -> str:
    """A text that stands under this key."""
    if not isinstance(value := body.get(key), str):
        raise UpdateRefused(f"{key} is missing")
    return value


def read_spec(found: Any) -> AdapterSpec:
    """An AdapterSpec whose values may be anything; comparing it with the right one decides."""
    names = {f.name for f in fields(AdapterSpec)}
    if not isinstance(found, dict) or found.keys() != names:
        raise UpdateRefused("the adapter's spec has other fields than those of this version")
    targets = found["target_modules"]
    if not isinstance(targets, list) or not all(isinstance(t, str) for t in targets):
        raise UpdateRefused("the adapter's target_modules are no list of names")
    return AdapterSpec(**{**found, "target_modules": tuple(targets)})


def decode_npy(name: str, data: bytes) -> npt.NDArray[Any]:
    """Plain npy bytes of a float32, float16 or int8 array, without numpy's own reader.

    That one evaluates the header's text, allocates what the header claims before it looks at the
    data, and opens archives. Here the header is matched, and must account for every byte.
    """
    end = 10 + int.from_bytes(data[8:10], "little")
    header = _NPY_HEADER.fullmatch(data[10:end])
    if not data.startswith(_NPY_MAGIC) or header is None:
        raise UpdateRefused(f"{_short(name)} is no plain array")
    descr, fortran, sizes = header.groups()
    dtype = _DTYPES.get(descr.decode("latin-1"))
    if dtype is None:
        found = descr.decode("latin-1")
        raise UpdateRefused(f"{_short(name)} has dtype {found!r}, expected one of {list(_DTYPES)}")
    shape = tuple(int(size) for size in sizes.split(b",") if size.strip())
    count = 1
    for size in shape:
        count *= size
    if len(data) - end != dtype.itemsize * count:
        raise UpdateRefused(f"{_short(name)} is truncated or has too many bytes")
    order: Literal["F", "C"] = "F" if fortran == b"True" else "C"
    flat = np.frombuffer(data, dtype, offset=end).copy()  # because torch wants to write
    try:
        return flat.reshape(shape, order=order)
    except ValueError:  # a size of 0 beside sizes beyond any address
        raise UpdateRefused(f"{_short(name)} has an impossible shape") from None


def _is(allowed: type, value: Any) -> bool:
    """Is `value` of this type, and a number of a size that a machine's own has?"""
    if allowed is float:
        # a comparison, not isfinite: that one raises on whole numbers beyond any float
        return type(value) in (int, float) and abs(value) < 1e30
    if allowed is int:
        return type(value) is int and abs(value) < 2**63
    return type(value) is allowed


def _no_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _short(name: str) -> str:
    """A tensor's name fit for a report: a site chose it, so it is cut and quoted."""
    return repr(name[-60:])
