"""The bytes of a byte-level tokenizer's tokens, so that texts can be walked token by token."""

from collections.abc import Iterator, Mapping
from typing import Any

from fl.errors import BaseModelError

_PRINTED = (*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100))  # stand for themselves


class Vocabulary:
    """Which token has which bytes; special tokens stand for no text and are left out."""

    def __init__(self, tokenizer: Any) -> None:
        """Raises BaseModelError for a tokenizer that has no token of its own for each byte."""
        self.ids = _ids(tokenizer)
        self.longest = max(map(len, self.ids), default=0)  # bytes
        missing = sum(bytes([byte]) not in self.ids for byte in range(256))
        if missing:
            raise BaseModelError(
                "Intents need a byte-level tokenizer, as GPT-2's, with a token for each of the "
                f"256 bytes; {missing} have none."
            )
        self.newline = self.ids[b"\n"]

    def prefixes(
        self, data: bytes, start: int, *, before: bytes = b""
    ) -> Iterator[tuple[int, int]]:
        """(token, bytes of data it takes) of each token that `before` + data[start:] begins with.

        Tokens that take none of data are left out.
        """
        seen = before + data[start : start + self.longest]
        for length in range(len(before) + 1, min(len(seen), self.longest) + 1):
            token = self.ids.get(seen[:length])
            if token is not None:
                yield token, length - len(before)


def _ids(tokenizer: Any) -> Mapping[bytes, int]:
    """Bytes -> token. GPT-2 writes the bytes that do not print as characters from 256 on."""
    others = [byte for byte in range(256) if byte not in _PRINTED]
    byte_of = {chr(byte): byte for byte in _PRINTED}
    byte_of |= {chr(256 + place): byte for place, byte in enumerate(others)}
    special = set(tokenizer.all_special_ids)
    return {
        bytes(byte_of[character] for character in token): number
        for token, number in tokenizer.get_vocab().items()
        if number not in special and all(character in byte_of for character in token)
    }
