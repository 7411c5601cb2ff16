"""One request at a site: which way it went, what crossed, how long each part took."""

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from fl.errors import FederationError


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A ledger's line. Seconds are wall-clock, but where they say CPU; 0 where a part was not used.

    `private_characters` are those of the short prompt or of what the site made of it that left as
    text; hidden states are no characters, but they are not nothing: `states_bytes` tells of them.
    """

    request_id: str  # random; unlinked to who asked
    site_id: str
    at: float  # seconds since 1970, UTC
    wanted: str  # the mode that was asked for
    mode: str  # the one that answered, or was on it: edge | cloud | split | synergy
    outcome: str  # stop | length | cancelled, or the gRPC status of a failure, in capitals

    bytes_up: int  # on the socket between site and cloud, TLS and HTTP/2 framing included
    bytes_down: int
    counted: str  # socket; or messages, where several requests shared the connection
    private_characters: int
    states_bytes: int

    short_tokens: int  # of the short prompt alone, as the edge model reads it
    enriched_tokens: int
    prompt_tokens: int  # of the cloud's model
    completion_tokens: int

    total_seconds: float
    queue_seconds: float  # at the cloud
    enrich_seconds: float  # at the site: enriching, own answers, waiting for its model
    link_seconds: float  # what is left: on the way
    prefill_seconds: float  # at the cloud
    decode_seconds: float
    first_seconds: float  # to the first text of the answer

    # A proxy of energy: processor time of this process, all threads. An edge service learns and
    # answers others meanwhile: there it is the request's own thread, and its share of the process's
    # time while the model wrote.
    site_cpu_seconds: float
    cloud_cpu_seconds: float

    federation: str
    release: int  # of the edge model
    cloud_release: str  # base, or as in cloud/3; "" where no cloud answered

    kept: str = ""  # what the site had kept of it: enriched | answer | both; "" for nothing


def to_line(entry: Entry) -> bytes:
    """The entry as a line of JSON."""
    return json.dumps(asdict(entry), separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Entry | None:
    """The entry in a line; None for a torn or strange one: a ledger outlives versions."""
    try:
        found = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    names = {field.name: field.type for field in fields(Entry)}
    if not isinstance(found, dict) or {"kept", *found} != names.keys():  # older lines lack it
        return None
    return Entry(**found) if all(_is(names[k], v) for k, v in found.items()) else None


def _is(wanted: Any, value: object) -> bool:
    if wanted is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return type(value) is wanted


def check_names(entry: Entry) -> None:
    """Raise FederationError for an entry that could hold a text: names are short words."""
    for name in ("request_id", "site_id", "wanted", "mode", "outcome", "counted", "kept"):
        value = getattr(entry, name)
        if len(value) > 128 or any(c.isspace() for c in value):
            raise FederationError(f"A ledger's {name} is one word, found {len(value)} characters.")
