"""How well intents are read: plain counts over held-out texts."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from clients.insight.intents.data_sets import Labelled
from clients.insight.intents.reading import Judged
from clients.insight.intents.schema import Slots
from clients.insight.intents.threshold import fit_threshold


@dataclass(frozen=True, kw_only=True)
class Score:
    """Of one arm at one set; None where it has nothing to count."""

    accuracy: float  # of texts in scope: is the intent, chosen among those in scope, the right one?
    slot_f1: float | None = None  # exact values, micro; without any threshold
    # At the false alarms asked for, on the held-out texts; None too where there are more of them at
    # any threshold, as the model itself calls so many texts in scope out of it.
    oos_recall: float | None = None
    calibrated_recall: float | None = None  # with the threshold of the calibration part ...
    calibrated_alarms: float | None = None  # ... and the false alarms it then causes
    valid: float | None = None  # share of answers that a JSON Schema validator accepts
    one_ms: float | None = None  # median of texts read one by one
    batch_ms: float | None = None  # a text, of all held-out texts read together


def score_intents(
    heldout: Sequence[Labelled],
    judged: Sequence[Judged],
    calibration: Sequence[Judged],
    *,
    out_of_scope: str,
    false_alarms: float,
) -> Score:
    """What concerns intents. `calibration` are judged texts in scope that nobody learned from."""
    pairs = list(zip(heldout, judged, strict=True))
    inside = [(one, found) for one, found in pairs if one.intent != out_of_scope]
    outside = [found for one, found in pairs if one.intent == out_of_scope]
    right = sum(found.inside == one.intent for one, found in inside)
    good = [found for _, found in inside]
    exact = fit_threshold(good, out_of_scope, false_alarms)
    reached = _refused(good, out_of_scope, exact) <= false_alarms + 1e-9
    drawn = fit_threshold(calibration, out_of_scope, false_alarms)
    return Score(
        accuracy=right / len(inside) if inside else math.nan,
        oos_recall=_refused(outside, out_of_scope, exact) if outside and reached else None,
        calibrated_recall=_refused(outside, out_of_scope, drawn) if outside else None,
        calibrated_alarms=_refused(good, out_of_scope, drawn),
    )


def slot_f1(gold: Sequence[Slots], found: Sequence[Slots]) -> float | None:
    """Micro F1 of (slot, value) pairs, each counted as often as it stands there."""
    hits = wanted = given = 0
    for right, said in zip(gold, found, strict=True):
        hits += (Counter(right) & Counter(said)).total()
        wanted += len(right)
        given += len(said)
    return 2 * hits / (wanted + given) if wanted else None


def _refused(judged: Sequence[Judged], out_of_scope: str, threshold: float) -> float:
    gone = [j.best == out_of_scope or j.confidence < threshold for j in judged]
    return sum(gone) / len(gone) if gone else math.nan
