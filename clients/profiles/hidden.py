"""What of a person must not leave the site, found again in any text that is about to.

A small model may copy a name with a letter wrong, so words that are nearly one go as well, unless
the place itself says them.
"""

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from difflib import SequenceMatcher

NEAR = 0.75  # of SequenceMatcher.ratio, for words of SHORTEST_NEAR letters that begin alike
SHORTEST_NEAR = 4
_WORD = re.compile(r"(?<!\[)\b\w+\b(?!\])")  # what is masked already stays
# Words that a text holds whoever it is about.
_SMALL = frozenset("a an and at by for from in my no not of on or the to with".split())


@dataclass(frozen=True, kw_only=True)
class Hidden:
    """Texts of facts that are not to be disclosed. They stay out of its repr."""

    texts: tuple[str, ...] = field(default=(), repr=False)
    told: frozenset[str] = field(default=frozenset(), repr=False)  # words the place says, folded

    def masked(self, text: str, mask: Callable[[], str]) -> str:
        """The text with `mask()` for every whole text of these, and then for their words."""
        if not self.texts:
            return text
        text = unicodedata.normalize("NFKC", text)  # one way to write a letter
        for hidden in sorted(self.texts, key=len, reverse=True):
            if whole := r"\W+".join(re.escape(word) for word in _words(hidden)):
                found = re.compile(rf"(?<!\[)\b{whole}\b(?!\])", re.IGNORECASE)
                text = found.sub(lambda _: mask(), text)
        words = {word for hidden in self.texts for word in self._alone(hidden)}
        return _WORD.sub(lambda w: mask() if self._hides(w[0].casefold(), words) else w[0], text)

    def _alone(self, hidden: str) -> list[str]:
        """The words that say something by themselves."""
        words = _words(hidden)
        return words if len(words) == 1 else [word for word in words if word not in _SMALL]

    def _hides(self, word: str, words: Iterable[str]) -> bool:
        return any(
            word == hidden or (word not in self.told and _nearly(word, hidden)) for hidden in words
        )


NOTHING_HIDDEN = Hidden()


def told_words(text: str) -> frozenset[str]:
    """The words of a text, as `Hidden.told` wants them."""
    return frozenset(_words(text))


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def _nearly(word: str, hidden: str) -> bool:
    if min(len(word), len(hidden)) < SHORTEST_NEAR or word[0] != hidden[0]:
        return False
    return SequenceMatcher(None, word, hidden, autojunk=False).ratio() >= NEAR
