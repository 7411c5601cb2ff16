"""Counts as text: a letter says how large a count is beside the mean of its window.

    Counts J t n l p ... A D D D at Fri G of H
    Next: D C A t

Letters with a blank before them are one token each in every GPT-2 vocabulary, the embedded ones of
1,024 and 2,048 tokens too, so that a prompt of 24 counts is 30 to 40 tokens. The counts to come are
told on the scale of the past ones: copying the last letter is persistence, copying that of the same
hour yesterday is the seasonal forecast, and learning starts from there. A grid of ratios to the
window's mean as words of a fixed vocabulary: Chronos (2403.07815, section 3.1). Behind `at` stand
the weekday and the hour of the last count, behind `of` how large the mean is, in half octaves:
counts of three have other habits than counts of three thousand.
"""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

HISTORY = 24  # counts in a prompt
NEXT = 12  # counts to come in a record, at the most
MOST = 1e15  # that a count can be: floats tell whole numbers apart up to nine times that
NOTHING = 0.5  # what a count of 0 is taken for in a ratio: half of the least there can be

LETTERS = tuple("abcdfghklmnprstwABCDEFGHIJKLMNOPRSTUVWY")  # from small to large
_WIDTH = 0.9  # ln of a ratio = _WIDTH sinh(u), u evenly spaced: fine around the mean, wide far out
_REACH = 1.75  # of u: from a twelfth of the mean to twelve times
EDGES = tuple(  # ln of the ratio at which one letter passes into the next
    _WIDTH * math.sinh(_REACH * (2 * i / (len(LETTERS) - 2) - 1)) for i in range(len(LETTERS) - 1)
)
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


@dataclass(frozen=True, kw_only=True)
class Span:
    """The counts that a letter stands for beside some mean: low <= count < high."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Window:
    """What one next count is forecast from."""

    history: tuple[float, ...]  # HISTORY counts
    at: datetime  # when the step of the last of them begins


Known = tuple[Window, tuple[float, ...]]  # a window, and the counts that came after it


def prompt_text(history: Sequence[float], at: datetime) -> str:
    """What the model reads of HISTORY counts, the last of them of the step that begins `at`.

    Raises ValueError for another number of counts, or one that is no finite number from 0 up.
    """
    check_counts(history)
    if len(history) != HISTORY:
        raise ValueError(f"expected {HISTORY} counts, found {len(history)}")
    mean = scale_of(history)
    past = " ".join(letter(count, mean=mean) for count in history)
    size = min(round(2 * math.log2(mean / NOTHING)), len(LETTERS) - 1)
    return f"Counts {past} at {_DAYS[at.weekday()]} {LETTERS[at.hour]} of {LETTERS[size]}"


def scale_of(history: Sequence[float]) -> float:
    """The mean that the letters of a window are told beside; NOTHING at the least."""
    return max(math.fsum(history) / len(history), NOTHING)


def letter(count: float, *, mean: float) -> str:
    """How many times the mean a count is."""
    return LETTERS[bisect.bisect_right(EDGES, math.log(max(count, NOTHING) / mean))]


def letters_of(counts: Sequence[float], *, mean: float) -> str:
    """What the model is to write of counts to come."""
    return " ".join(letter(count, mean=mean) for count in counts)


def spans(mean: float) -> tuple[Span, ...]:
    """What each of LETTERS stands for: the first from 0, the last up to e times its least."""
    inner = [mean * math.exp(edge) for edge in EDGES]
    lows, highs = [0.0, *inner], [*inner, inner[-1] * math.e]
    return tuple(Span(low=low, high=high) for low, high in zip(lows, highs, strict=True))


def check_counts(counts: Sequence[float]) -> None:
    """Raise ValueError for a count that is negative, too large, or no number."""
    for number, count in enumerate(counts, start=1):
        if not 0 <= count <= MOST:
            raise ValueError(f"count {number} of {len(counts)} must be a number from 0 to {MOST:g}")
