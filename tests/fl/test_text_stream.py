from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from fl.text_stream import TextStream


def decode_bytes(ids: Sequence[int]) -> str:
    """A tokenizer whose tokens are single bytes: the hardest case for streaming."""
    return bytes(ids).decode("utf-8", errors="replace")


def test_half_characters_wait_for_their_other_half() -> None:
    stream = TextStream(decode_bytes)

    pieces = [stream.push(byte) for byte in " né🙂".encode()]

    assert pieces == ["", "n", "", "é", "", "", "", "🙂"]
    assert stream.finish() == ""


def test_a_broken_last_character_shows_at_the_end_only() -> None:
    stream = TextStream(decode_bytes)

    assert [stream.push(byte) for byte in b"a\xe6\x9d"] == ["a", "", ""]
    assert stream.finish() == "\N{REPLACEMENT CHARACTER}"


@given(st.lists(st.integers(0, 255), max_size=40))
def test_pieces_joined_are_the_whole_text(ids: list[int]) -> None:
    stream = TextStream(decode_bytes)

    pieces = [stream.push(token_id) for token_id in ids] + [stream.finish()]

    assert "".join(pieces) == stream.sent == decode_bytes(ids).lstrip()


@given(st.text(max_size=30))
def test_whole_characters_are_never_shown_broken(text: str) -> None:
    stream = TextStream(decode_bytes)

    pieces = [stream.push(byte) for byte in text.replace("\ufffd", "").encode()]

    assert not any("\ufffd" in piece for piece in pieces)
