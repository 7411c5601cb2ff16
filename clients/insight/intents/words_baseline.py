"""The yardstick: logistic regression on counts of words (scikit-learn, in the test extra)."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from clients.insight.intents.data_sets import DataSet, Labelled
from clients.insight.intents.reading import Judged
from clients.insight.intents.scores import Score, score_intents


def words_score(data: DataSet, *, false_alarms: float) -> Score | None:
    """Its score on the same parts; None where scikit-learn is not installed. It knows no slots."""
    try:
        from sklearn.feature_extraction.text import CountVectorizer
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
    except ImportError:
        return None
    model = make_pipeline(CountVectorizer(), LogisticRegression(max_iter=1000))
    model.fit([one.text for one in data.train], [one.intent for one in data.train])
    name = data.schema.out_of_scope
    began = time.perf_counter()
    judged = _judged(model, data.heldout, name)
    batch_ms = (time.perf_counter() - began) * 1000 / len(data.heldout)
    inside = [one for one in data.calibration if one.intent != name]
    calibration = _judged(model, inside, name)
    found = score_intents(
        data.heldout, judged, calibration, out_of_scope=name, false_alarms=false_alarms
    )
    return replace(found, batch_ms=batch_ms)


def _judged(model: Any, texts: Sequence[Labelled], out_of_scope: str) -> list[Judged]:
    names: list[str] = list(model.classes_)
    found = []
    for row in model.predict_proba([one.text for one in texts]).tolist():
        shares = dict(zip(names, row, strict=True))
        best = max(shares, key=shares.__getitem__)
        inside = max((n for n in names if n != out_of_scope), key=shares.__getitem__)
        found.append(Judged(best=best, inside=inside, confidence=shares[inside]))
    return found
