"""What is true of an errand anywhere: how long it takes, what to bring, when it is quiet.

No card and no book says it. The cloud's public text does, of all public intents; the edge's of the
first few only: a small model knows less. So an answer may need the place, which the site knows, and
know-how, which the cloud has.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from fl.demo_world.intents import PUBLIC_INTENTS


@dataclass(frozen=True, kw_only=True)
class Question:
    """A question that a request may end with."""

    short: str  # as it is typed
    asked: str  # in the enriched prompt
    said: str  # in the answer; {} is the know-how
    values: tuple[str, ...]


QUESTIONS = (
    Question(
        short="how long",
        asked="and say how long it takes",
        said="It takes {}.",
        values=("ten minutes", "half an hour", "one hour", "two hours", "all day", "a week"),
    ),
    Question(
        short="bring what",
        asked="and say what to bring",
        said="Bring {}.",
        values=("a bag", "a towel", "some coins", "an umbrella", "a list", "a friend"),
    ),
    Question(
        short="when quiet",
        asked="and say when it is quiet",
        said="It is quiet {}.",
        values=("at dawn", "before lunch", "at three", "after dark", "on holidays", "in rain"),
    ),
    Question(
        short="any tip",
        asked="and add a tip",
        said="Tip: {}.",
        values=("use the side door", "ask for Mia", "look upstairs", "try the back", "queue left"),
    ),
)
EDGE_KNOWS = 4  # of the public intents


def _drawn() -> Mapping[tuple[str, str], str]:
    rng = random.Random("know-how")
    return {
        (intent.name, question.short): rng.choice(question.values)
        for intent in PUBLIC_INTENTS
        for question in QUESTIONS
    }


KNOWHOW: Mapping[tuple[str, str], str] = _drawn()


def said(intent: str, question: Question) -> str:
    """The sentence of an answer."""
    return question.said.format(KNOWHOW[intent, question.short])
