"""Tokens to text, piece by piece, without ever showing half a character.

A byte-level BPE token may end in the middle of a UTF-8 character; decoding then shows U+FFFD. Such
a tail is held back until the character is complete or the answer ends.
"""

from collections.abc import Callable, Sequence

REPLACEMENT = "�"


class TextStream:
    """The text of one growing answer; `sent` is always the pieces joined."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self.sent = ""

    def push(self, token_id: int) -> str:
        """Add a token; return the text that is now safe to show, often empty."""
        self._ids.append(token_id)
        return self._release(self._text().rstrip(REPLACEMENT))

    def finish(self) -> str:
        """Return what was held back; a broken last character shows as U+FFFD."""
        return self._release(self._text())

    def _text(self) -> str:
        # The blank that prompt_format puts before a completion is no part of the answer.
        return self._decode(self._ids).lstrip()

    def _release(self, text: str) -> str:
        if not text.startswith(self.sent):  # a tokenizer that rewrites its past: wait for more
            return ""
        piece = text[len(self.sent) :]
        self.sent = text
        return piece
