"""The threshold, by hand."""

import pytest

from clients.insight.intents.reading import Judged
from clients.insight.intents.threshold import fit_threshold


def judged(*confidences: float, missed: int = 0) -> list[Judged]:
    sure = [Judged(best="a", inside="a", confidence=c) for c in confidences]
    gone = [Judged(best="none", inside="a", confidence=0.3)] * missed
    return sure + gone


@pytest.mark.parametrize(
    ("found", "share", "threshold"),
    [
        (judged(0.9, 0.5, 0.7, 0.6), 0.25, 0.6),  # one of four is below
        (judged(0.9, 0.5, 0.7, 0.6), 0.24, 0.5),  # none is
        (judged(0.9, 0.5, 0.7, missed=1), 0.25, 0.5),  # that one is out of scope anyway
        (judged(0.9, 0.5, missed=2), 0.25, 0.5),
        (judged(missed=3), 0.05, 0.0),
        ([], 0.05, 0.0),
    ],
)
def test_as_many_false_alarms_as_allowed(
    found: list[Judged], share: float, threshold: float
) -> None:
    assert fit_threshold(found, "none", share) == threshold
