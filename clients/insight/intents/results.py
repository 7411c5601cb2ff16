"""What the study of intents found."""

from collections.abc import Mapping
from dataclasses import dataclass

from clients.insight.intents.scores import Score

WORDS, BASE, CENTRAL, FEDERATED = "words, regression", "base", "centralised", "federated"
ARMS = (WORDS, BASE, CENTRAL, FEDERATED)


@dataclass(frozen=True, kw_only=True)
class SetResult:
    """A data set: its sizes, and every arm's score; None for one that could not run here."""

    name: str
    train: int
    heldout: int
    sites: Mapping[str, int]  # training records of each
    scores: Mapping[str, Score | None]
    seconds: Mapping[str, float]  # of each arm, training and judging
