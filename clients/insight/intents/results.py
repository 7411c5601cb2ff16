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
    unread: int  # held-out texts longer than the model reads; they count as out of scope
    unwritten: int  # held-out texts that leave no room for their whole right answer
    shortened: int  # records whose answer is learned in part (learning.max_tokens)
    sites: Mapping[str, int]  # training records of each
    scores: Mapping[str, Score | None]
    seconds: Mapping[str, float]  # of each arm, training and judging
