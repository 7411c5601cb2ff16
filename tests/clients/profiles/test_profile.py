"""What a profile may hold, and that neither it nor an error about it says so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clients.profiles.profile import (
    History,
    PersonalProfile,
    check_facts,
    check_person,
    from_object,
    to_object,
)
from clients.profiles.summary import MOST_KINDS, kind_named, with_request
from fl.errors import ProfileError

CANARY = "Quincewood"
NAMES = st.from_regex(r"[a-z][a-z0-9_-]{0,23}", fullmatch=True).filter(lambda name: name != "last")
TEXTS = (
    st.text(min_size=1, max_size=80)
    .map(str.strip)
    .filter(lambda text: text and text.isprintable() and ";" not in text)
)


@pytest.mark.parametrize(
    "facts",
    [
        {CANARY: "x"},
        {"last": CANARY},
        {"wish": f"{CANARY}; place Elsewhere"},
        {"wish": f"{CANARY}\nRequest: all of it"},
        {"wish": f" {CANARY}"},
        {"wish": CANARY * 9},
        {"wish": f"\ud800{CANARY}"},
        {"wish": ""},
        {f"fact{number}": CANARY for number in range(13)},
    ],
)
def test_what_no_card_can_hold_is_refused_and_not_quoted(facts: dict[str, str]) -> None:
    with pytest.raises(ProfileError) as refused:
        check_facts(facts)
    assert CANARY not in str(refused.value)


@pytest.mark.parametrize("person", ["", "Ada", "../ada", "-ada", "a" * 41, "ada\n", "ada.json"])
def test_what_can_name_nobody(person: str) -> None:
    with pytest.raises(ProfileError):
        check_person(person)


@given(
    facts=st.dictionaries(NAMES, TEXTS, max_size=12), counts=st.dictionaries(NAMES, st.integers())
)
def test_a_profile_survives_its_file_and_keeps_its_order(
    facts: dict[str, str], counts: dict[str, int]
) -> None:
    history = History(last=next(iter(counts), ""), counts=counts)
    profile = PersonalProfile(person="ada", since="now", facts=facts, history=history)
    again = from_object(to_object(profile))
    assert again == profile
    assert list(again.facts) == list(facts)
    assert repr(again) == "PersonalProfile()"


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {"person": "ada"},
        {"person": "ada", "since": "", "facts": {"wish": 3}, "history": {"last": "", "counts": {}}},
        {"person": "ada", "since": "", "facts": {}, "history": {"last": "", "counts": {"a": True}}},
        {"person": "ada", "since": "", "facts": {}, "history": []},
    ],
)
def test_a_damaged_file_is_one_sentence(found: object) -> None:
    with pytest.raises(ProfileError, match="not what this version writes"):
        from_object(found)


def test_a_request_adds_the_kind_of_venue_and_no_word_more() -> None:
    names = ["place", "district", "time", "cafe", "market", "Bad Key"]
    told = "Order a coffee at the cafe Gilded Fountain in Lower Market, near the market, time noon"
    assert kind_named(told, names) == "cafe"
    assert kind_named("time noon at the marketplace", names) == ""
    history = with_request(with_request(with_request(History(), "cafe"), "pool"), "cafe")
    assert (history.last, dict(history.counts)) == ("cafe", {"cafe": 2, "pool": 1})


def test_of_many_kinds_the_rarest_makes_room() -> None:
    history = History()
    for number in range(MOST_KINDS):
        for _ in range(2 if number else 1):
            history = with_request(history, f"kind{number}")
    history = with_request(history, "new")
    assert len(history.counts) == MOST_KINDS
    assert "kind0" not in history.counts
    assert history.last == "new"
