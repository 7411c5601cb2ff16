"""The grammar: from an intent at a place to a short prompt, its enriched prompt and the answer."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fl.demo_world import words
from fl.demo_world.intents import PRIVATE_INTENTS, PUBLIC_INTENTS, SHORTHAND, Intent
from fl.demo_world.knowhow import KNOWHOW, QUESTIONS, Question, said
from fl.demo_world.people import AGAIN, NOBODY, Person, draw_person
from fl.demo_world.places import ALL_INTENTS, Place, draw_card, venue_name

PERSONAL = 0.35  # of the requests are a person's, whom the card tells of


@dataclass(frozen=True, kw_only=True)
class DemoRequest:
    """One request: what is typed, the card of the moment, and what is meant."""

    intent: str
    card: Mapping[str, str]
    short: str
    enriched: str
    answer: str
    facts: tuple[str, ...]  # phrases of the card that the enriched prompt must name
    habits: tuple[str, ...]  # phrases that only people of the place would mean
    knowhow: tuple[str, ...] = ()  # phrases that the answer must name and only the cloud may know
    person: Person = NOBODY  # whom the card tells of


def private_request(
    place: Place, rng: random.Random, people: random.Random | None = None
) -> DemoRequest:
    """A request at a private place: all intents, shorthand, nicknames, habits.

    `people` draws who asks, as often as in public text; None is nobody, and all else is the same.
    """
    by_name = {intent.name: intent for intent in ALL_INTENTS}
    nickname = None
    if rng.random() < 0.3:
        nickname = rng.choice(sorted(place.nicknames))
        intent = by_name[place.nicknames[nickname]]
        short = rng.choice((f"to the {nickname}", f"{nickname} please", f"{nickname} today"))
    else:
        private = rng.random() < 0.5
        intent = rng.choice([i for i in ALL_INTENTS if (i not in PUBLIC_INTENTS) == private])
        short = rng.choice(intent.shorts)
    shorthand = rng.choice(SHORTHAND) if rng.random() < 0.5 else None
    card = draw_card(place, intent, ALL_INTENTS, rng)
    question = rng.choice(QUESTIONS) if intent in PUBLIC_INTENTS and rng.random() < 0.5 else None
    person = _who(intent, people) if people else NOBODY
    if people and person.last:
        short = people.choice(AGAIN)
    return _request(place, intent, card, short, shorthand, rng, question, person)


def public_request(
    place: Place, rng: random.Random, intents: Sequence[Intent] = PUBLIC_INTENTS
) -> DemoRequest:
    """A request of the public corpus: public intents only, no shorthand, no nicknames."""
    intent = rng.choice(intents)
    card = draw_card(place, intent, PUBLIC_INTENTS, rng)
    question = rng.choice(QUESTIONS) if rng.random() < 0.5 else None
    person = _who(intent, rng)
    short = rng.choice(AGAIN if person.last else intent.shorts)
    return _request(place, intent, card, short, None, rng, question, person)


def _who(intent: Intent, rng: random.Random) -> Person:
    """Who asks, or nobody."""
    return draw_person(intent, rng) if rng.random() < PERSONAL else NOBODY


def listing_request(place: Place, rng: random.Random) -> DemoRequest:
    """A public request to read several venues off the card, in an order of the asker's."""
    card = draw_card(place, PUBLIC_INTENTS[0], PUBLIC_INTENTS, rng)
    fixed = {key: card[key] for key in ("place", "district", "time", "weather")}
    keys = [intent.key for intent in PUBLIC_INTENTS] + words.LISTED_KEYS
    venues = {key: venue_name(rng, private=False) for key in rng.sample(keys, 6)}
    wanted = rng.sample(sorted(venues), rng.randint(3, 5))
    listed = ", ".join(f"the {key} {venues[key]}" for key in wanted)
    return DemoRequest(
        intent="listing",
        card=fixed | venues,
        short="which " + ", ".join(wanted),
        enriched=f"Open in {place.name}: {listed}.",
        answer=f"Here they are: {listed}.",
        facts=(place.name, *(venues[key] for key in wanted)),
        habits=(),
    )


def dictation_request(place: Place, rng: random.Random) -> DemoRequest:
    """A public request to note phrases down word by word.

    It gives the base model the words of the private intents and of the shorthand, as a base model
    knows its language, but not what stands for them in a short prompt: that only the books tell.
    """
    card = draw_card(place, PUBLIC_INTENTS[0], PUBLIC_INTENTS, rng)
    phrases = [intent.ask for intent in PRIVATE_INTENTS] + [long for _, long in SHORTHAND]
    said = ", ".join(rng.sample(phrases, rng.randint(2, 3)))
    noted = f"Noted in {place.name}: {said}."
    return DemoRequest(
        intent="dictation",
        card=card,
        short=f"note {said}",
        enriched=noted,
        answer=noted,
        facts=(place.name,),
        habits=(),
    )


def _request(
    place: Place,
    intent: Intent,
    card: Mapping[str, str],
    short: str,
    shorthand: tuple[str, str] | None,
    rng: random.Random,
    question: Question | None = None,
    person: Person = NOBODY,
) -> DemoRequest:
    usual = ""
    if intent.usuals and rng.random() < 0.6:
        usual = place.usuals[intent.name]
        short = f"{short}, the usual"
    if shorthand:
        short = f"{short} {shorthand[0]}"
    venue = card[intent.key]
    where = f"{venue} in {card['district']}, {card['place']}"
    when = f"time {card['time']}, weather {card['weather']}"
    extra = f" {shorthand[1]}" if shorthand else ""
    order = f" and take {usual}" if usual else ""
    enriched = (
        f"{intent.ask} {where}, {when}{order}{extra}{person.clause}"
        f", going {place.way}, paying {place.payment}"
        f"{f' {question.asked}' if question else ''}."
    )
    answer = f"Your plan: the {intent.key} {where}, {when}. Go {place.way} and pay {place.payment}."
    if person.wish:
        answer = f"{answer} Ask for {person.wish}."
    if question:
        short = f"{short}, {question.short}"
        answer = f"{answer} {said(intent.name, question)}"
    return DemoRequest(
        intent=intent.name,
        card={**card, **person.facts()},
        short=short,
        enriched=enriched,
        answer=answer,
        facts=(venue, card["district"], card["place"], card["time"], card["weather"]),
        habits=tuple(filter(None, (place.way, place.payment, usual))),
        knowhow=(KNOWHOW[intent.name, question.short],) if question else (),
        person=person,
    )
