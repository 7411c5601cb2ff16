"""Places: what their cards can say, and the habits that stand on no card."""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from fl.demo_world import words
from fl.demo_world.intents import PRIVATE_INTENTS, PUBLIC_INTENTS, Intent

ALL_INTENTS = PUBLIC_INTENTS + PRIVATE_INTENTS

# Printed names of the private places, the largest book first; the ninth joins late.
PRIVATE_PLACES = (
    "Marlow Quay",
    "Thorn Hill",
    "Calder Cross",
    "Selby Strand",
    "Harrow Falls",
    "Eden Port",
    "Birch Moor",
    "Rook Isle",
    "Haven Ridge",
)
BOOK_SIZES = (600, 360, 240, 160, 110, 80, 56, 40, 40)  # training prompts


@dataclass(frozen=True, kw_only=True)
class Place:
    """A place. Venues by card key; habits as people there have them."""

    name: str
    districts: tuple[str, ...]
    venues: Mapping[str, tuple[str, ...]]
    way: str  # how people get around
    payment: str
    usuals: Mapping[str, str]  # intent name -> the usual order
    nicknames: Mapping[str, str]  # local word -> intent name


def draw_private_place(name: str, *, seed: int) -> Place:
    """One private place: its venues' names are pairs that no public text holds."""
    rng = random.Random(f"place {name} {seed}")
    index = PRIVATE_PLACES.index(name)
    venues = {
        intent.key: tuple(venue_name(rng, private=True) for _ in range(3)) for intent in ALL_INTENTS
    }
    nicknamed = rng.sample([intent.name for intent in ALL_INTENTS], 4)
    return Place(
        name=name,
        districts=tuple(district_name(rng, private=True) for _ in range(3)),
        venues=venues,
        way=words.WAYS[(index + seed) % len(words.WAYS)],
        payment=words.PAYMENTS[(index + 2 * seed) % len(words.PAYMENTS)],
        usuals={i.name: rng.choice(i.usuals) for i in ALL_INTENTS if i.usuals},
        # Neighbours share local words and mean other things by them.
        nicknames=dict(zip(rng.sample(words.NICKNAMES[:8], 4), nicknamed, strict=True)),
    )


def draw_public_place(rng: random.Random) -> Place:
    """A random place for one public record: nothing about it can be remembered."""
    return Place(
        name=place_name(rng),
        districts=(district_name(rng, private=False),),
        venues={i.key: (venue_name(rng, private=False),) for i in PUBLIC_INTENTS},
        way=rng.choice(words.WAYS),
        payment=rng.choice(words.PAYMENTS),
        usuals={i.name: rng.choice(i.usuals) for i in PUBLIC_INTENTS if i.usuals},
        nicknames={},
    )


def draw_card(
    place: Place, wanted: Intent, others: tuple[Intent, ...], rng: random.Random
) -> dict[str, str]:
    """What is true now: place, district, time, weather, and which venues are open."""
    card = {
        "place": place.name,
        "district": rng.choice(place.districts),
        "time": f"{rng.choice(words.DAYS)} {rng.choice(words.DAY_PARTS)}",
        "weather": rng.choice(words.WEATHERS),
    }
    shown = [wanted, *rng.sample([i for i in others if i != wanted], 4)]
    rng.shuffle(shown)
    card.update({intent.key: rng.choice(place.venues[intent.key]) for intent in shown})
    return card


def venue_name(rng: random.Random, *, private: bool) -> str:
    """Two words; private and public names are made of the same words in other pairs."""
    return _pair(rng, words.VENUE_FIRST, words.VENUE_SECOND, private=private)


def district_name(rng: random.Random, *, private: bool) -> str:
    return _pair(rng, words.DISTRICT_FIRST, words.DISTRICT_SECOND, private=private)


def place_name(rng: random.Random) -> str:
    """A public place's name, never one of the private ones."""
    while True:
        name = f"{rng.choice(words.PLACE_FIRST)} {rng.choice(words.PLACE_SECOND)}"
        if name not in PRIVATE_PLACES:
            return name


def _pair(rng: random.Random, first: list[str], second: list[str], *, private: bool) -> str:
    i = rng.randrange(len(first))
    choices = [j for j in range(len(second)) if ((i + j) % 8 == 0) == private]
    return f"{first[i]} {second[rng.choice(choices)]}"
