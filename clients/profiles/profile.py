"""One person's profile at a site: facts that the person chose, and a summary of past requests.

No prompt stands in it, and no error about it quotes it: errors end up in logs.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from fl.errors import ProfileError

HISTORY = "last"  # what the card calls the history; so no fact can have this name
LONGEST_FACT = 80  # characters
MOST_FACTS = 12
_PERSON = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_FACT = re.compile(r"[a-z][a-z0-9_-]{0,23}")


@dataclass(frozen=True, kw_only=True)
class History:
    """Which kinds of venue (cafe, pool) somebody asked for: words of the place card, no prompts."""

    last: str = ""  # "" before the first
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PersonalProfile:
    """All that a site holds of a person. Nothing of it stands in its repr."""

    person: str = field(repr=False)  # names the profile; no prompt says it
    since: str = field(repr=False)  # when it was made, ISO 8601, UTC; tells it from one made later
    facts: Mapping[str, str] = field(repr=False)  # name -> text, the important ones first
    history: History = field(default_factory=History, repr=False)

    def __post_init__(self) -> None:
        """Raises ProfileError."""
        check_person(self.person)
        check_facts(self.facts)

    @property
    def version(self) -> str:
        """Another one whenever facts are set or removed, or the profile is made anew; requests
        leave it.
        """
        told = repr((self.since, list(self.facts.items()))).encode()
        return sha256(told).hexdigest()


def is_person(text: str) -> bool:
    """Could this name a profile?"""
    return _PERSON.fullmatch(text) is not None


def is_fact_name(text: str) -> bool:
    """Could this name a fact?"""
    return _FACT.fullmatch(text) is not None and text != HISTORY


def check_person(text: str) -> None:
    """Raise ProfileError for what cannot name a profile."""
    if not is_person(text):
        raise ProfileError(
            "A person is named by 1 to 40 of a-z, 0-9 and '-', not beginning with '-'; "
            f"found {len(text)} characters that are not. Choose such a name."
        )


def check_facts(facts: Mapping[str, str]) -> None:
    """Raise ProfileError for names or texts that no card can hold; it quotes neither."""
    if len(facts) > MOST_FACTS:
        raise ProfileError(
            f"A profile holds at most {MOST_FACTS} facts, found {len(facts)}. Remove some."
        )
    for number, (name, text) in enumerate(facts.items(), start=1):
        if not is_fact_name(name):
            raise ProfileError(
                f"Fact {number}: expected a name of 1 to 24 of a-z, 0-9, '_' and '-' that begins "
                f"with a letter and is not {HISTORY!r}. Choose another."
            )
        fits = 1 <= len(text) <= LONGEST_FACT and text == text.strip()
        if not fits or not text.isprintable() or ";" in text:
            raise ProfileError(
                f"Fact {number}: expected a text of 1 to {LONGEST_FACT} visible characters in one "
                "line, without ';' and without blanks around it. Write it shorter or plainer."
            )


def to_object(profile: PersonalProfile) -> dict[str, Any]:
    """All of it, as JSON holds it."""
    history = {"last": profile.history.last, "counts": dict(profile.history.counts)}
    return {
        "person": profile.person,
        "since": profile.since,
        "facts": dict(profile.facts),
        "history": history,
    }


def from_object(found: object) -> PersonalProfile:
    """What `to_object` made. Raises ProfileError for anything else."""
    told = _object(found, "person", "since", "facts", "history")
    history = _object(told["history"], "last", "counts")
    facts, counts = told["facts"], history["counts"]
    texts = [told["person"], told["since"], history["last"], *_values(facts)]
    if not all(isinstance(text, str) for text in texts):
        raise _strange()
    if not all(type(count) is int for count in _values(counts)):
        raise _strange()
    return PersonalProfile(
        person=told["person"],
        since=told["since"],
        facts=facts,
        history=History(last=history["last"], counts=counts),
    )


def _object(found: object, *names: str) -> dict[str, Any]:
    if not isinstance(found, dict) or found.keys() != set(names):
        raise _strange()
    return found


def _values(found: object) -> list[object]:
    if not isinstance(found, dict):
        raise _strange()
    return list(found.values())


def _strange() -> ProfileError:
    return ProfileError(
        "A profile on the disk is not what this version writes: expected person, since, facts and "
        "history. Put right what was changed by hand, or erase it."
    )
