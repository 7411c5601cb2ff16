"""People of the demo world: what a card can say about who asks, and how a request then reads.

A name and a wish are made of parts. Some pairs of parts are in no text that a model learns from:
one that carries such a name into the enriched prompt has learned to copy it.
"""

import random
from dataclasses import dataclass

from fl.demo_world import words
from fl.demo_world.intents import Intent

NAME, WISH, LAST = "person", "wish", "last"  # keys on the card; LAST is a profile's history
AGAIN = ("same again", "as last time", "the same please", "once more", "like before")


@dataclass(frozen=True, kw_only=True)
class Person:
    """Who asks, as far as a card tells; "" where it does not."""

    name: str = ""
    wish: str = ""
    last: str = ""  # card key of the venue that was asked for last, told to who asks for it again

    def facts(self) -> dict[str, str]:
        """What the card says behind the place's own facts."""
        told = {NAME: self.name, WISH: self.wish, LAST: self.last}
        return {key: text for key, text in told.items() if text}

    @property
    def phrases(self) -> tuple[str, ...]:
        """What the enriched prompt must name."""
        return tuple(filter(None, (self.name, self.wish)))

    @property
    def clause(self) -> str:
        """Their place in the enriched prompt, before the habits and put as time and weather are.

        A small model copies what follows a word it has just said: `for Ada` would be half as safe.
        """
        told = {NAME: self.name, WISH: self.wish}
        return "".join(f", {key} {text}" for key, text in told.items() if text)


NOBODY = Person()


def draw_person(wanted: Intent, rng: random.Random) -> Person:
    """Somebody who asks for `wanted`, some of them in words that only their history explains."""
    has_name = rng.random() < 0.75
    has_wish = rng.random() < 0.65
    again = rng.random() < 0.35 or not (has_name or has_wish)
    return Person(
        name=person_name(rng) if has_name else "",
        wish=wish_text(rng) if has_wish else "",
        last=wanted.key if again else "",
    )


def person_name(rng: random.Random, *, unseen: bool = False) -> str:
    """One word of two parts; an `unseen` one is in no corpus and no demo book."""
    return _joined(rng, words.NAME_FIRST, words.NAME_SECOND, "", unseen=unseen)


def wish_text(rng: random.Random, *, unseen: bool = False) -> str:
    """What somebody likes to have: `a window seat`."""
    return "a " + _joined(rng, words.WISH_FIRST, words.WISH_SECOND, " ", unseen=unseen)


def _joined(
    rng: random.Random, first: list[str], second: list[str], by: str, *, unseen: bool
) -> str:
    i = rng.randrange(len(first))
    choices = [j for j in range(len(second)) if ((i + j) % 8 == 0) == unseen]
    return f"{first[i]}{by}{second[rng.choice(choices)]}"
