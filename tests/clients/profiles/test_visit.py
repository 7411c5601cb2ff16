"""One person's request: what the card says more, what is hidden, what is remembered."""

import json
from pathlib import Path

import pytest

from clients.asking.disclosure import disclose
from clients.profiles.store import profiles_of
from clients.profiles.visit import Visit, visit
from fl.errors import GenerationError
from fl.settings import Settings, load
from fl.site_list import site_folder

PLACE = {"place": "Elmford", "time": "noon", "cafe": "Amber Fox"}
PLAIN = "place Elmford; time noon; cafe Amber Fox"
FACTS = {"person": "Quincewood", "wish": "a window seat", "cafe": "elsewhere"}


def words(text: str) -> int:
    return len(text.split())


def world(tmp_path: Path, *overrides: str) -> Settings:
    settings = load([f"var={tmp_path}", *overrides])
    profiles_of(settings, "elm").set("ada", FACTS)
    return settings


def theirs_at(settings: Settings) -> Visit:
    return visit(settings, "elm", "ada", "Same again.")


def card(settings: Settings, person: str = "ada", short: str = "a table") -> str:
    return visit(settings, "elm", person, short).card(PLACE, count_tokens=words)


def test_the_person_stands_behind_the_place_in_a_budget_of_their_own(tmp_path: Path) -> None:
    settings = world(tmp_path)
    assert card(settings) == f"{PLAIN}; person Quincewood; wish a window seat"
    assert card(settings, person="") == PLAIN
    whole = 6  # words of the two facts
    for budget, told in (
        (whole, "; person Quincewood; wish a window seat"),
        (5, "; person Quincewood"),
    ):
        assert card(world(tmp_path, f"profile.tokens={budget}")) == PLAIN + told
    assert card(world(tmp_path, "profile.tokens=1")) == PLAIN
    assert card(world(tmp_path, "profile.tokens=0")) == PLAIN


def test_the_place_card_loses_nothing_to_a_profile(tmp_path: Path) -> None:
    short = world(tmp_path, "asking.card_tokens=8")
    many = {f"fact{number}": f"a longer text {number}" for number in range(9)}
    profiles_of(short, "elm").set("ada", many, afresh=True)
    place = {"place": "Elmford", "weather": "rain", "cafe": "Amber Fox", "pool": "Ivory Hawk"}
    alone = visit(short, "elm", "", "").card(place, count_tokens=words)
    assert alone == "place Elmford; weather rain; cafe Amber Fox"
    assert (
        visit(short, "elm", "ada", "").card(place, count_tokens=words).startswith(f"{alone}; fact0")
    )


def test_history_is_told_who_asks_where_the_card_shows_such_a_venue(
    tmp_path: Path,
) -> None:
    settings = world(tmp_path)
    theirs = theirs_at(settings)
    theirs.card(PLACE, count_tokens=words)
    theirs.remember("Order a coffee at the cafe Amber Fox, time noon, for Quincewood")
    for short in ("same again", "As LAST  time, please", "once more"):
        assert card(settings, short=short).endswith("; last cafe")
    for short in ("a table", "sameness", "my last coffee"):
        assert "last" not in card(settings, short=short)
    elsewhere = theirs_at(settings).card({"place": "Elmford"}, count_tokens=words)
    assert "last" not in elsewhere
    for off in ("profile.history=false", "profile.again=[]"):
        assert "last" not in card(world(tmp_path, off), short="same again")
    text = (site_folder(settings, "elm") / "profiles" / "ada.json").read_text()
    assert json.loads(text)["history"] == {"last": "cafe", "counts": {"cafe": 1}}
    assert "coffee" not in text


def test_without_history_nothing_is_remembered(tmp_path: Path) -> None:
    settings = world(tmp_path, "profile.history=false")
    theirs = theirs_at(settings)
    theirs.card(PLACE, count_tokens=words)
    theirs.remember("Order a coffee at the cafe Amber Fox")
    assert profiles_of(settings, "elm").read("ada").history.counts == {}


def test_what_is_not_listed_is_masked_at_the_door(tmp_path: Path) -> None:
    told = "A coffee for Quincewood, with a window seat"
    for listed, left in (
        ("[wish]", "A coffee for [person], with a window seat"),
        ("[person,wish]", told),
        ("[]", "A coffee for [person], with a [person]"),
    ):
        settings = world(tmp_path, f"profile.disclose={listed}", "asking.redact=false")
        found = disclose(told, settings.asking, hidden=theirs_at(settings).hidden)
        # "a" alone says nothing; the whole wish goes at once
        assert found.text == left.replace("a [person]", "[person]")
        assert found.redactions.get("person", 0) == left.count("[person]")
    nobody = visit(settings, "elm", "", "").hidden
    assert disclose(told, settings.asking, hidden=nobody).text == told


@pytest.mark.parametrize("person", ["quincewood", "../ada", "Ada", "a" * 99])
def test_an_unknown_person_is_a_typed_error_that_does_not_repeat_it(
    tmp_path: Path, person: str
) -> None:
    settings = world(tmp_path)
    with pytest.raises(GenerationError, match="no profile of that person") as refused:
        visit(settings, "elm", person, "a table")
    assert refused.value.status == "INVALID_ARGUMENT"
    assert person not in str(refused.value)
    assert profiles_of(settings, "elm").people() == ["ada"]


def test_a_damaged_profile_is_a_typed_error_without_its_path(tmp_path: Path) -> None:
    settings = world(tmp_path)
    (site_folder(settings, "elm") / "profiles" / "ada.json").write_text("Quincewood")
    with pytest.raises(GenerationError) as refused:
        theirs_at(settings)
    assert refused.value.status == "FAILED_PRECONDITION"
    assert not any(text in str(refused.value) for text in ("Quincewood", "ada", str(tmp_path)))
