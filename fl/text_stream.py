"""Tokens to text, piece by piece: never half a character, and nothing of a stop string.

A byte-level BPE token may end in the middle of a UTF-8 character; decoding then shows U+FFFD. Such
a tail is held back until the character is complete or the answer ends. So is a tail that may become
a stop string.
"""

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"


class TextStream:
    """The text of one growing answer; `sent` is always the pieces joined."""

    def __init__(
        self,
        decode: Callable[[Sequence[int]], str],
        *,
        stop: Sequence[str] = (),
        strip: bool = True,
    ) -> None:
        """`strip` leaves out the blanks an answer begins with: prompt_format puts one there."""
        self._decode, self._stop, self._strip = decode, stop, strip
        self._ids: list[int] = []
        # A few tokens before the new ones are decoded with them, for a tokenizer may write a
        # token otherwise at the beginning of a text. All of the text each time would take ever
        # longer.
        self._context = 0
        self._shown = 0
        self._held = ""  # may become a stop string
        self.sent = ""
        self.stopped = False  # a stop string was found; nothing comes after it

    def push(self, token_id: int) -> str:
        """Add a token; return the text that is now safe to show, often empty."""
        self._ids.append(token_id)
        text = self._new_text()
        if not text or text.endswith(REPLACEMENT):
            return ""
        self._context, self._shown = self._shown, len(self._ids)
        return self._release(text, last=False)

    def finish(self) -> str:
        """Return what was held back; a broken last character shows as U+FFFD."""
        return "" if self.stopped else self._release(self._new_text(), last=True)

    def _new_text(self) -> str:
        before = self._decode(self._ids[self._context : self._shown])
        return self._decode(self._ids[self._context :])[len(before) :]

    def _release(self, text: str, *, last: bool) -> str:
        if self._strip and not self.sent and not self._held:
            text = text.lstrip()
        text = self._held + text
        found = [at for stop in self._stop if (at := text.find(stop)) >= 0]
        if found:
            self.stopped, text, self._held = True, text[: min(found)], ""
        else:
            cut = len(text) if last else len(text) - self._may_become_stop(text)
            text, self._held = text[:cut], text[cut:]
        self.sent += text
        return text

    def _may_become_stop(self, text: str) -> int:
        """Length of the longest end of the text that a stop string begins with."""
        longest = max((len(stop) for stop in self._stop), default=1) - 1
        for length in range(min(longest, len(text)), 0, -1):
            if any(stop.startswith(text[-length:]) for stop in self._stop):
                return length
        return 0


def before_stop(text: str, stop: Sequence[str]) -> str:
    """A whole text up to the first of its stop strings."""
    found = [at for each in stop if (at := text.find(each)) >= 0]
    return text[: min(found)] if found else text
