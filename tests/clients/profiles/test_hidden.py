"""What of a person must not leave is found in whatever a model wrote of it."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clients.profiles.hidden import Hidden, told_words

TEXTS = st.text("abcdefgABC äöß'-.,;é ", max_size=40)
NAMES = st.text("abcdefgé", min_size=3, max_size=12)


def masked(text: str, *hidden: str, place: str = "") -> str:
    return Hidden(texts=hidden, told=told_words(place)).masked(text, lambda: "[person]")


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("a coffee for Ada Lovelace, at noon", "a coffee for [person], at noon"),
        ("for ADA  LOVELACE's dog", "for [person]'s dog"),
        ("for Ada-Lovelace", "for [person]"),
        ("for Lovelace alone", "for [person] alone"),
        ("for Lovelac and Lovelaces", "for [person] and [person]"),  # a letter too few, too many
        ("for Adam", "for Adam"),  # of three letters nothing is nearly one
        ("for \uff21\uff44\uff41", "for [person]"),  # full-width letters
        ("for [person] and [email]", "for [person] and [email]"),
    ],
)
def test_a_name_by_hand(text: str, left: str) -> None:
    assert masked(text, "Ada Lovelace") == left


def test_small_words_of_a_hidden_text_stay() -> None:
    told = "Order a tea at the cafe with no sugar on the terrace"
    assert masked(told, "no sugar at the office") == (
        "Order a tea at the cafe with no [person] on the terrace"
    )
    assert masked("Order a tea", "a") == "Order [person] tea"  # the only word there is


def test_what_the_place_says_itself_is_no_near_miss() -> None:
    """SequenceMatcher: 2 x 5 equal letters of 6 + 7 are 0.77."""
    sentence = "the cafe in Marlow Quay for Marlowa"
    assert masked(sentence, "Marlowa") == "the cafe in [person] Quay for [person]"
    assert masked(sentence, "Marlowa", place="place Marlow Quay") == (
        "the cafe in Marlow Quay for [person]"
    )
    assert masked(sentence, "Marlow", place="place Marlow Quay").count("[person]") == 2


@given(before=TEXTS, after=TEXTS, names=st.lists(NAMES, min_size=1, max_size=3))
@example(before="", after="", names=["person"])
def test_no_word_of_it_is_left_and_once_is_enough(
    before: str, after: str, names: list[str]
) -> None:
    whole = " ".join(names)
    once = masked(f"{before} {whole} {after} {names[-1]}", whole)
    outside = re.sub(r"\[person\]", " ", once)
    words = set(re.findall(r"\w+", outside.casefold()))
    assert not words & set(names) or words & set(names) <= {"a", "and", "at", "for"}
    assert masked(once, whole) == once


@given(text=TEXTS)
def test_nobody_hides_nothing(text: str) -> None:
    assert masked(text) == text


def test_it_does_not_show_itself() -> None:
    assert "Ada" not in repr(Hidden(texts=("Ada",), told=told_words("Ada")))
