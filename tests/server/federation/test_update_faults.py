"""Every fault a reply can have, through the whole round loop.

The faulty update is refused with its reason, everybody else's round completes, and the release is
byte for byte the one that is made when the site sends nothing. No word of the reply is repeated.
"""

import io
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, RecordDict

from fl.flower_records import CONTRIBUTE, SITE_FAILED
from server.federation.round_log import RoundLog, read_status
from tests.server.federation.fake_sites import (
    PLACES,
    asked,
    bytes_of,
    fake_settings,
    grid,
    is_of,
    run,
)

CANARY = "take me to the clinic on elm street"
SITE = "oslo"

Fault = Callable[[RecordDict], None]  # spoils a reply in place


def tensors(change: Callable[[dict[str, Array]], object]) -> Fault:
    """A fault in the set of tensors."""

    def spoil(content: RecordDict) -> None:
        arrays = dict(content.array_records["adapter"])
        change(arrays)
        content["adapter"] = ArrayRecord(arrays)

    return spoil


def first(make: Callable[[np.ndarray[Any, Any]], Any]) -> Fault:
    """The first tensor (lora_A, 2 x 4) is replaced by what `make` makes of it."""

    def change(arrays: dict[str, Array]) -> None:
        name = sorted(arrays)[0]
        made = make(arrays[name].numpy().copy())
        arrays[name] = made if isinstance(made, Array) else Array(made)

    return tensors(change)


def entry(number: float) -> Fault:
    """One number of the first tensor is this one."""

    def make(tensor: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        tensor[0, 0] = number
        return tensor

    return first(make)


def raw(data: bytes) -> Fault:
    """The first tensor's bytes are these, whatever they claim to be."""
    return first(lambda _: Array(dtype="float32", shape=(2, 4), stype="numpy.ndarray", data=data))


def npy(array: np.ndarray[Any, Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def every_tensor(make: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]) -> Fault:
    def change(arrays: dict[str, Array]) -> None:
        for name, array in list(arrays.items()):
            arrays[name] = Array(make(array.numpy()))

    return tensors(change)


def body(change: Callable[[dict[str, Any]], None]) -> Fault:
    """A fault in the JSON."""

    def spoil(content: RecordDict) -> None:
        found = json.loads(str(content.config_records["json"]["json"]))
        change(found)
        content["json"] = ConfigRecord({"json": json.dumps(found)})

    return spoil


def claims(**fields: Any) -> Fault:
    return body(lambda found: found["update"].update(fields))


def spec(**fields: Any) -> Fault:
    return body(lambda found: found["spec"].update(fields))


def judgement(**fields: Any) -> Fault:
    return body(lambda found: found["update"]["judgement"].update(fields))


def text(json_text: str) -> Fault:
    return lambda content: content.update({"json": ConfigRecord({"json": json_text})})


def no_tensors(content: RecordDict) -> None:
    del content["adapter"]


def two_sets(content: RecordDict) -> None:
    content["more"] = ArrayRecord([np.zeros((2, 4), np.float32)])


SAME = {"release_number": 1, "current_number": 0, "loss": 1.0, "current_loss": 1.0}
HUGE = npy(np.zeros((2, 4), np.float32)).replace(b"(2, 4), }" + b" " * 10, b"(99999999999, 9), }")

FAULTS: dict[str, tuple[Fault, str, int]] = {  # name -> fault, reason, round
    # values
    "NaN": (entry(np.nan), "it holds NaN or infinity", 1),
    "inf": (entry(np.inf), "it holds NaN or infinity", 2),
    "1e30": (entry(1e30), "its norm 1e+30 is above federation.max_update_norm", 1),
    "times 10000": (every_tensor(lambda t: t * np.float32(1e4)), "is above", 2),
    "all zero": (every_tensor(np.zeros_like), "all zero: the site did not learn", 1),
    # form
    "wrong shape": (first(lambda t: t.T.copy()), "has shape (4, 2), expected (2, 4)", 1),
    "broadcastable shape": (first(lambda t: t[:1]), "has shape (1, 4), expected (2, 4)", 1),
    "scalar": (first(lambda t: np.ones((), np.float32)), "has shape ()", 1),
    "zero size": (first(lambda t: t[:0]), "has shape (0, 4), expected (2, 4)", 1),
    "wrong rank": (spec(rank=3), "its rank is 3, method=fedavg takes 2", 1),
    "wrong rank in the tensors": (first(lambda t: np.ones((3, 4), np.float32)), "(3, 4)", 1),
    "missing tensor": (tensors(lambda t: t.pop(min(t))), "1 of 2 tensors are missing", 1),
    "extra tensor": (
        tensors(lambda t: t.update({CANARY: t[min(t)]})),
        "1 tensors are not part of the release",
        1,
    ),
    "renamed tensor": (
        tensors(lambda t: t.update({CANARY: t.pop(min(t))})),
        "1 of 2 tensors are missing",
        1,
    ),
    "float64": (first(lambda t: t.astype(np.float64)), "has dtype '<f8', expected one of", 1),
    "float16": (first(lambda t: t.astype(np.float16)), "has dtype float16, expected float32", 1),
    "int32": (first(lambda t: t.astype(np.int32)), "has dtype '<i4'", 1),
    "big-endian": (first(lambda t: t.astype(">f4")), "has dtype '>f4'", 1),
    "no tensors": (no_tensors, "tensors are missing", 1),
    "two sets of tensors": (two_sets, "tensors are not part of the release", 1),
    # bytes
    "truncated bytes": (raw(npy(np.ones((2, 4), np.float32))[:-3]), "is truncated", 1),
    "too many bytes": (raw(npy(np.ones((2, 4), np.float32)) + b"more"), "too many bytes", 1),
    "no bytes": (raw(b""), "is no plain array", 1),
    "header bomb": (raw(HUGE), "is truncated or has too many bytes", 1),
    "header that is code": (
        raw(npy(np.ones((2, 4), np.float32)).replace(b"False", b"exit()")[:-8]),
        "is no plain array",
        1,
    ),
    "object array": (raw(npy(np.array([CANARY, None], dtype=object))), "'|O'", 1),
    "zip archive": (raw(b"PK\x03\x04" + CANARY.encode()), "is no plain array", 1),
    "pickle": (raw(b"\x80\x04\x95" + CANARY.encode()), "is no plain array", 1),
    # what it is made for
    "another base": (spec(base_model_fingerprint="1" * 64), "base_model_fingerprint", 1),
    "another alpha": (spec(alpha=8.0), "another alpha", 1),
    "spec with a text": (spec(base_model_fingerprint=CANARY), "base_model_fingerprint", 1),
    "spec with another field": (spec(note=CANARY), "spec has other fields", 1),
    "stale round": (claims(round_number=1), "made for round 1, this is round 2", 2),
    "future round": (claims(round_number=3), "made for round 3, this is round 2", 2),
    "stale release": (claims(based_on_release=0), "based on release 0, this round starts", 2),
    "round as text": (claims(round_number=CANARY), "made for round a str", 1),
    # who it is
    "another site's name": (claims(site_id="rome"), "answers the plan of oslo under another", 1),
    "a site that nobody knows": (claims(site_id=CANARY), "under another name", 1),
    # how much it counts
    "no examples": (claims(num_examples=0), "num_examples must be a whole number from 1", 1),
    "negative examples": (claims(num_examples=-5), "found -5", 1),
    "NaN examples": (claims(num_examples=float("nan")), "found nan", 1),
    "1e18 examples": (claims(num_examples=10**18), "found 1e+18", 1),
    "1e400 examples": (claims(num_examples=10**400), "found a huge number", 1),
    "bool examples": (claims(num_examples=True), "found a bool", 1),
    "list of examples": (claims(num_examples=[10]), "found a list", 1),
    "text for examples": (claims(num_examples=CANARY), "found a str", 1),
    "loss NaN": (claims(heldout_loss=float("nan")), "heldout_loss must be a number", 1),
    "loss as text": (claims(train_loss=CANARY), "train_loss must be a number", 1),
    "loss as object": (claims(train_loss={CANARY: 1}), "found a dict", 1),
    "negative seconds": (claims(seconds=-1), "seconds must be a number, 0 or more", 1),
    "another field": (claims(note=CANARY), "the update's fields are not those", 1),
    # what it judges
    "judgement unasked": (claims(judgement=SAME), "none was to be judged", 1),
    "judgement of another": (
        judgement(release_number=7),
        "compares release 7 with release 0, release 1 was to be compared with release 0",
        2,
    ),
    "judgement against another": (judgement(current_number=1), "with release 1,", 2),
    "judgement NaN": (judgement(loss=float("nan")), "the judgement's loss is no float", 2),
    "judgement 1e30": (judgement(current_loss=1e30), "judgement's current_loss is no float", 2),
    "negative judgement": (judgement(loss=-0.5), "its judgement's loss must be a number", 2),
    "judgement as text": (judgement(loss=CANARY), "the judgement's loss is no float", 2),
    "judgement with more": (judgement(note=CANARY), "the judgement's fields are not those", 2),
    "judgement as list": (claims(judgement=[CANARY]), "the judgement's fields are not those", 2),
    # no JSON of ours
    "torn JSON": (text('{"update": {"site'), "the message's JSON cannot be read", 1),
    "empty JSON": (text("{}"), "the update's fields are not those of this version", 1),
    "deep JSON": (text("[" * 90_000), "the message's JSON cannot be read", 1),
    "large JSON": (text(json.dumps(CANARY * 5000)), "the message holds no JSON of ours", 1),
    "a key twice": (text('{"update": {}, "update": {}}'), "JSON cannot be read", 1),
}


def faulty(fault: Fault | None, in_round: int) -> Callable[[Message, Message], Message]:
    """Spoil the site's reply in one round; without a fault the site fails there."""

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, CONTRIBUTE, [SITE]) and asked(request)[1].round_number == in_round:
            if fault is None:
                return Message(Error(code=SITE_FAILED, reason="OSError"), reply_to=request)
            fault(reply.content)
        return reply

    return tamper


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("project")


@cache
def without(project: Path, number: int) -> dict[str, bytes]:
    """All bytes of the federation in which the site fails in this round."""
    settings = fake_settings(project, f"rounds={number}", f"name=without-{number}")
    return bytes_of(run(settings, grid(tamper=faulty(None, number))))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_refused_and_everybody_else_goes_on(project: Path, name: str) -> None:
    fault, said, number = FAULTS[name]
    place = list(FAULTS).index(name)
    settings = fake_settings(project, f"rounds={number}", f"name=fault-{place}")

    folder = run(settings, grid(tamper=faulty(fault, number)))

    reports = RoundLog(folder).reports()
    (outcome,) = [o for o in reports[number - 1].outcomes if not o.admitted]
    assert outcome.site_id == SITE
    assert said in outcome.reason
    assert all(o.admitted for report in reports[:-1] for o in report.outcomes)
    assert bytes_of(folder) == without(project, number)
    status = read_status(folder)
    assert status is not None
    assert status.state == "completed"
    for file in folder.rglob("*"):
        if file.is_file():
            for word in ("clinic", "elm street"):
                assert word.encode() not in file.read_bytes(), file


def test_a_second_reply_of_a_site_counts_as_little_as_none(project: Path) -> None:
    """Whatever it says: the first reply to a message is the site's reply."""

    def tamper(request: Message, reply: Message) -> list[Message]:
        if not is_of(request, CONTRIBUTE, [SITE]):
            return [reply]
        second = Message(RecordDict(dict(reply.content)), reply_to=request)
        claims(num_examples=1000)(second.content)
        return [reply, second]

    plain = run(fake_settings(project, "rounds=1", "name=plain"), grid())
    folder = run(fake_settings(project, "rounds=1", "name=twice"), grid(tamper=tamper))
    assert bytes_of(folder) == bytes_of(plain)
    assert all(o.admitted for r in RoundLog(folder).reports() for o in r.outcomes)


def test_a_copy_of_another_sites_update_is_refused(project: Path) -> None:
    seen: dict[str, ArrayRecord] = {}

    def tamper(request: Message, reply: Message) -> Message:
        if is_of(request, CONTRIBUTE):
            site, _ = asked(request)
            seen[site] = reply.content.array_records["adapter"]
            if site == "rome":
                reply.content["adapter"] = seen["oslo"]
        return reply

    folder = run(fake_settings(project, "rounds=1", "name=copy"), grid(tamper=tamper))
    (report,) = RoundLog(folder).reports()
    reasons = {o.site_id: o.reason for o in report.outcomes if not o.admitted}
    assert reasons == {"rome": "a copy of the update of oslo"}
    assert len(report.outcomes) == len(PLACES)
