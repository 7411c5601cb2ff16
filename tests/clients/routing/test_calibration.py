"""auto's probability: drawn through labels, never falling, the same when read again."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.prompts.record import PromptRecord
from clients.routing.calibrating import calibrate, is_complete, is_faithful
from clients.routing.calibration import (
    Calibration,
    fit,
    read_calibration,
    score_of,
    write_calibration,
)
from clients.writing import Written
from fl.errors import BookError

SCORES = st.lists(st.floats(-5, 0), min_size=1, max_size=40)


def test_the_score_is_the_mean_log_probability() -> None:
    assert score_of(Written(text="yes", nats=(0.2, 0.4))) == pytest.approx(-0.3)
    assert score_of(Written(text="", nats=(0.2,))) == -math.inf
    assert score_of(Written(text="", nats=())) == -math.inf


def test_a_curve_through_labels_that_scores_part() -> None:
    found = fit([-0.1, -0.2, -0.3, -1.1, -1.2, -1.3], [True] * 3 + [False] * 3, base="b")
    assert found.probability(-0.1) > 0.7 > 0.3 > found.probability(-1.3)
    assert found.probability(-0.7) == pytest.approx(0.5, abs=0.01)  # half way between them
    assert found.faithful == 0.5
    assert found.requests == 6
    assert found.probability(-math.inf) == 0.0


def test_labels_that_scores_do_not_tell_apart_give_their_share() -> None:
    # Platt's targets of 2 right and 2 wrong: 3/4 and 1/4
    found = fit([-0.5] * 4, [True, False, True, False], base="b")
    assert found.probability(-0.5) == pytest.approx(0.5)
    # 4 right of 4: (4 + 1) / (4 + 2)
    assert fit([-0.5] * 4, [True] * 4, base="b").probability(-0.5) == pytest.approx(5 / 6)


@given(SCORES, st.data())
def test_a_surer_answer_is_never_taken_for_a_worse_one(
    scores: list[float], data: st.DataObject
) -> None:
    labels = data.draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    found = fit(scores, labels, base="b")
    probabilities = [found.probability(s) for s in (-9.0, -3.0, -1.0, -0.5, -0.1, 0.0)]
    assert probabilities == sorted(probabilities)
    assert all(0 <= p <= 1 for p in probabilities)


def test_a_file_of_another_model_or_version_is_drawn_anew(tmp_path: Path) -> None:
    file = tmp_path / "routing.json"
    found = fit([-0.1, -1.0], [True, False], base="b")
    write_calibration(file, found)
    assert read_calibration(file, base="b") == found
    assert read_calibration(file, base="other") is None
    file.write_text(json.dumps({"slope": 1.0}))
    assert read_calibration(file, base="b") is None
    file.write_text(json.dumps({**vars(found), "slope": float("nan")}))
    assert read_calibration(file, base="b") is None
    assert read_calibration(tmp_path / "none.json", base="b") is None


def record(**more: object) -> PromptRecord:
    return PromptRecord(
        short="tea",
        enriched="Tea at the Fox in Elm",
        card="",
        marks={"fact": ("Fox", "Elm")},
        answer_marks=("ask for Mia",),
    )


def test_complete_and_faithful() -> None:
    asked = record()
    assert is_complete("The Fox in Elm. Tip: ask for Mia.", asked)
    assert not is_complete("The Fox. Tip: ask for Mia.", asked)
    # enriching missed Elm, so an answer to it may miss it too
    assert is_faithful("The Fox. Tip: ask for Mia.", "Tea at the Fox", asked)
    assert not is_faithful("The Fox. Tip: look up.", "Tea at the Fox", asked)


def test_calibrating_labels_by_marks_and_needs_a_few() -> None:
    answers = ["The Fox in Elm. ask for Mia"] * 6 + ["The Fox"] * 4
    nats = [(0.1,)] * 6 + [(1.0,)] * 4
    found = calibrate(
        [record()] * 10,
        lambda records: ["Tea at the Fox in Elm"] * 5 + ["Tea at the Fox"] * 5,
        lambda prompts: [Written(text=a, nats=n) for a, n in zip(answers, nats, strict=True)],
        base="b",
    )
    assert found.faithful == 0.6
    assert found.enriched_whole == 0.5
    assert found.probability(-0.1) > 0.6 > found.probability(-1.0)
    with pytest.raises(BookError, match="8 at least, found 7"):
        calibrate([record()] * 7, lambda r: [], lambda p: [], base="b")


def test_what_is_kept_holds_no_text(tmp_path: Path) -> None:
    write_calibration(
        tmp_path / "r.json", Calibration(slope=1, intercept=0, requests=1, faithful=1.0, base="b")
    )
    kept = json.loads((tmp_path / "r.json").read_text())
    assert [k for k, v in kept.items() if isinstance(v, str)] == ["base"]
