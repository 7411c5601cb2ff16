"""From the score of an own answer to the probability that it says all that it should.

The score is the mean log-probability of the answer's tokens; a logistic curve through the scores
and labels of held-out requests makes a probability of it (Platt 1999). Two parameters are all that
the few held-out records of a site can carry.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from clients.atomic import publish_text
from clients.writing import Written

_STEPS = 100  # of Newton's method, which needs about 8
_RIDGE = 1e-3  # keeps the slope finite where one score parts all right answers from all wrong ones


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """P(faithful) = 1 / (1 + exp(-(slope * score + intercept))); slope is never below 0."""

    slope: float
    intercept: float
    requests: int  # that it was drawn through
    faithful: float  # share of them whose own answer said all that it should
    base: str  # fingerprint of the model that answers
    enriched_whole: float = 1.0  # share whose enriched prompt named all that it should
    cloud_faithful: float | None = None  # share of the cloud's answers, where it was asked

    def probability(self, score: float) -> float:
        """That an own answer with this score is faithful. -inf is an answer without a token."""
        if score == -math.inf:
            return 0.0
        z = self.slope * score + self.intercept
        return 1 / (1 + math.exp(-z)) if z > -700 else 0.0


def score_of(written: Written) -> float:
    """Mean log-probability of the tokens, in nats; -inf where nothing was written."""
    return -sum(written.nats) / len(written.nats) if written.nats and written.text else -math.inf


def fit(scores: Sequence[float], faithful: Sequence[bool], *, base: str) -> Calibration:
    """The curve of largest likelihood. Raises ValueError without any finite score."""
    x = np.array([s for s in scores if math.isfinite(s)])  # (n,)
    right = np.array([c for s, c in zip(scores, faithful, strict=True) if math.isfinite(s)])  # (n,)
    if not len(x):
        raise ValueError("a calibration needs at least one finite score")
    positives, n = int(right.sum()), len(x)
    # Platt's targets: nobody is sure after a handful of requests
    y = np.where(right, (positives + 1) / (positives + 2), 1 / (n - positives + 2))  # (n,)
    middle, width = float(x.mean()), float(x.std()) or 1.0
    slope, intercept = _maximum((x - middle) / width, y)
    if slope < 0:  # a surer answer is not taken for a worse one: few records can say so by chance
        slope, intercept = 0.0, _logit(float(y.mean()))
    return Calibration(
        slope=slope / width,
        intercept=intercept - slope * middle / width,
        requests=len(scores),
        faithful=sum(map(bool, faithful)) / len(faithful),
        base=base,
    )


def write_calibration(file: Path, found: Calibration) -> None:
    """Publish it as JSON. Raises OSError."""
    publish_text(file, json.dumps(asdict(found), indent=2) + "\n")


def read_calibration(file: Path, *, base: str) -> Calibration | None:
    """What is in the file; None where there is none, or one of another base model or version."""
    try:
        found = Calibration(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    numbers = (found.slope, found.intercept, found.enriched_whole, found.cloud_faithful or 0.0)
    whole = all(isinstance(n, int | float) and math.isfinite(n) for n in numbers)
    return found if whole and found.slope >= 0 and found.base == base else None


def _maximum(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Slope and intercept of the likeliest logistic curve; Newton's method with halved steps."""
    design = np.stack([x, np.ones_like(x)], axis=1)  # (n, 2)
    ridge = np.diag([_RIDGE, 0.0])

    def loss(w: np.ndarray) -> float:
        z = design @ w
        return float(np.sum(np.logaddexp(0, z) - y * z) + 0.5 * w @ ridge @ w)

    w = np.array([0.0, _logit(float(y.mean()))])
    for _ in range(_STEPS):
        p = 1 / (1 + np.exp(-(design @ w)))  # (n,)
        gradient = design.T @ (p - y) + ridge @ w
        curvature = design.T @ (design * (p * (1 - p))[:, None]) + ridge + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        share = 1.0
        while loss(w - share * step) > loss(w) and share > 1e-6:
            share /= 2
        w = w - share * step
        if float(np.abs(step).max()) * share < 1e-9:
            break
    return float(w[0]), float(w[1])


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
