"""Which phrases a text names: recall of facts and habits, counted on whole words."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Phrases found out of phrases looked for."""

    found: int
    looked_for: int

    def __add__(self, other: "Recall") -> "Recall":
        return Recall(found=self.found + other.found, looked_for=self.looked_for + other.looked_for)

    @property
    def share(self) -> float:
        """found / looked_for; 0 where nothing was looked for."""
        return self.found / self.looked_for if self.looked_for else 0.0


def names(text: str, phrase: str) -> bool:
    """Whether `phrase` stands in `text` as whole words, ignoring case and runs of blanks."""
    pattern = r"(?<!\w)" + re.escape(_plain(phrase)) + r"(?!\w)"
    return re.search(pattern, _plain(text)) is not None


def recall_of(
    texts: Sequence[str], marks: Sequence[Mapping[str, Iterable[str]]]
) -> dict[str, Recall]:
    """Recall by kind of mark, texts[i] against marks[i]."""
    totals: dict[str, Recall] = {}
    for text, wanted in zip(texts, marks, strict=True):
        for kind, phrases in wanted.items():
            hits = [names(text, phrase) for phrase in phrases]
            one = Recall(found=sum(hits), looked_for=len(hits))
            totals[kind] = totals.get(kind, Recall(found=0, looked_for=0)) + one
    return totals


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
