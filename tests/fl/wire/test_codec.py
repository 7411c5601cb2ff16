import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fl.errors import GenerationError
from fl.generation import GenerationRequest, Reply, TextPiece
from fl.wire import codec
from fl.wire.netgpt.v1 import generation_pb2 as pb

GOOD = GenerationRequest(request_id="r1", site_id="harbour", prompt="secret words")
REPLY = Reply(
    text="two pieces",
    finish_reason="length",
    prompt_tokens=7,
    completion_tokens=3,
    queue_seconds=0.25,
    prefill_seconds=0.5,
    decode_seconds=1.5,
    model_fingerprint="ab12",
)


@given(
    prompt=st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip),
    max_new_tokens=st.integers(1, 2**31 - 1),
    temperature=st.floats(0, 1e6),
    top_p=st.floats(0, 1, exclude_min=True),
    seed=st.integers(-(2**63), 2**63 - 1),
    written=st.lists(st.integers(0, 2**31 - 1)).map(tuple),
)
def test_requests_come_back_exactly(**drawn: Any) -> None:
    request = replace(GOOD, **drawn)
    data = codec.request_to_wire(request).SerializeToString()
    assert codec.request_from_wire(pb.GenerateRequest.FromString(data)) == request


def test_an_unset_top_p_means_all() -> None:
    message = codec.request_to_wire(GOOD)
    message.ClearField("top_p")
    assert codec.request_from_wire(message).top_p == 1.0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("request_id", ""),
        ("request_id", "r" * 129),
        ("site_id", ""),
        ("site_id", "../etc"),
        ("site_id", "harbour\n"),
        ("prompt", ""),
        ("prompt", " \n"),
        ("prompt", "half \ud83d"),
        ("max_new_tokens", 0),
        ("max_new_tokens", -1),
        ("max_new_tokens", 2**31),
        ("temperature", math.nan),
        ("temperature", math.inf),
        ("temperature", -0.5),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_p", math.nan),
        ("seed", 2**63),
        ("written", (3, -1)),
        ("written", (2**31,)),
    ],
)
def test_bad_fields_are_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(GenerationError, match=field) as refused:
        codec.request_to_wire(replace(GOOD, **{field: value}))  # type: ignore[arg-type]
    assert refused.value.status == "INVALID_ARGUMENT"


def test_all_mistakes_are_named_together_and_the_prompt_is_not_quoted() -> None:
    message = pb.GenerateRequest(prompt="secret words", temperature=math.nan, max_new_tokens=0)
    with pytest.raises(GenerationError) as refused:
        codec.request_from_wire(message)
    for field in ("request_id", "site_id", "max_new_tokens", "temperature"):
        assert field in str(refused.value)
    assert "secret" not in str(refused.value)


def test_a_stream_comes_back_as_pieces_and_a_reply() -> None:
    messages = [
        codec.started_to_wire("ab12", "base"),
        codec.event_to_wire(TextPiece(text="two ")),
        codec.event_to_wire(TextPiece(text="pieces")),
        codec.event_to_wire(REPLY),
    ]
    events = list(codec.events_from_wire(messages))
    assert events == [TextPiece(text="two "), TextPiece(text="pieces"), REPLY]


def test_a_piece_says_its_tokens_to_who_asks() -> None:
    piece = TextPiece(text="two", token_ids=(7, 0, 7))
    for asked, said in ((True, (7, 0, 7)), (False, ())):
        messages = [STARTED, codec.event_to_wire(piece, tokens=asked), FINISHED]
        back = next(codec.events_from_wire(messages))
        assert isinstance(back, TextPiece)
        assert (back.text, back.token_ids) == ("two", said)


STARTED, PIECE = codec.started_to_wire("ab12", "base"), codec.event_to_wire(TextPiece(text="x"))
FINISHED = codec.event_to_wire(REPLY)


@pytest.mark.parametrize(
    ("messages", "found"),
    [
        ([], "no end"),
        ([STARTED, PIECE], "no end"),
        ([PIECE, FINISHED], "piece out of order"),
        ([FINISHED], "finished out of order"),
        ([STARTED, STARTED], "started out of order"),
        ([STARTED, pb.GenerateResponse()], "an empty message"),
        ([STARTED, FINISHED, PIECE], "after the end"),
        ([STARTED, pb.GenerateResponse(finished=pb.Finished())], "finish reason 0"),
    ],
)
def test_a_stream_in_another_order_is_refused(
    messages: list[pb.GenerateResponse], found: str
) -> None:
    with pytest.raises(GenerationError, match=found) as refused:
        list(codec.events_from_wire(messages))
    assert refused.value.status == "DATA_LOSS"
