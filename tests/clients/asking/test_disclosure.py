"""What leaves a site carries no address or number of a person, whatever surrounds it."""

import re
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clients.asking.disclosure import disclose
from fl.settings import AskingSettings

ASKING = AskingSettings(
    card_tokens=8,
    enriched_tokens=8,
    answer_tokens=8,
    disclose_max_characters=600,
    redact=True,
    timeout_s=1,
)
WORDS = st.text("abc äß東🙂,.!? ", max_size=20).map(lambda text: text + " ")
SEPARATORS = st.sampled_from(["", " ", "-"])


def luhn_check_digit(digits: str) -> str:
    """The digit that makes the sum a multiple of ten, found by trying."""

    def total(number: str) -> int:
        halves = [int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(number))]
        return sum(h - 9 if h > 9 else h for h in halves)

    return next(d for d in "0123456789" if total(digits + d) % 10 == 0)


def test_a_sentence_by_hand() -> None:
    told = (
        "Write to\tjane.doe@mail.example.org. Or +49 (30) 901-820 \u200band pay\x00 "
        "4111 1111 1111 1111\nor GB82 WEST 1234 5698 7654 32 by 2024-03-05 at 19:30, table 12."
    )

    disclosed = disclose(told, ASKING)

    assert disclosed.text == (
        "Write to [email]. Or [phone] and pay [card] or [iban] by 2024-03-05 at 19:30, table 12."
    )
    assert disclosed.redactions == {"email": 1, "phone": 1, "card": 1, "iban": 1}
    assert disclosed.characters == len(disclosed.text)


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ("room ab12 de89370400440532013000 ok", "room ab12 [iban] ok"),
        ("DE89 3704 0044 0532 0130 00 is mine", "[iban] is mine"),
        ("tel4155551234x", "tel[phone]x"),
        ("call 415.555.1234 now", "call [phone] now"),
        ("account 12345678901234567890", "account [number]"),
        ("٠١٢٣٤٥٦٧٨", "[phone]"),  # digits of another script
        ("5.3.2024 12:30 2024-03-05 10:00", "5.3.2024 12:30 2024-03-05 10:00"),
        ("1 2024-03-05", "1 2024-03-05"),
        ("2011-11-11-1111", "[phone]"),  # longer than a date
        ("42 Main St, 90210, 3.50", "42 Main St, 90210, 3.50"),
        ("half \ud83d pair", "half pair"),
        ("meet @ noon", "meet @ noon"),
    ],
)
def test_what_is_masked_and_what_stays(told: str, left: str) -> None:
    assert disclose(told, ASKING).text == left


@given(st.text(max_size=300), st.integers(8, 120))
@example("0" * 9 + "/2024-03-05", 9)
@example("a@b@c.d]@e", 50)
def test_the_result_is_visible_short_and_stable(text: str, longest: int) -> None:
    asking = replace(ASKING, disclose_max_characters=longest)

    once = disclose(text, asking)

    assert len(once.text) == once.characters <= longest
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\ud800-\udfff]", once.text)
    assert "  " not in once.text
    assert once.text == once.text.strip()
    once.text.encode("utf-8")
    assert disclose(once.text, asking).text == once.text


@given(st.text("0123456789 -./()+:@abDE,", max_size=60), st.integers(8, 60))
def test_the_result_is_stable_on_number_like_text_too(text: str, longest: int) -> None:
    asking = replace(ASKING, disclose_max_characters=longest)
    once = disclose(text, asking).text
    assert disclose(once, asking).text == once


@given(WORDS, WORDS, st.text("abcxyz019._+-", min_size=1, max_size=12).map(lambda s: "q" + s))
def test_no_email_address_survives(before: str, after: str, name: str) -> None:
    disclosed = disclose(f"{before}{name}@host.example {after}", ASKING)
    assert "@host" not in disclosed.text
    assert disclosed.redactions["email"] == 1


@given(WORDS, WORDS, st.text("0123456789", min_size=15, max_size=15), SEPARATORS)
def test_no_payment_card_survives(before: str, after: str, digits: str, sep: str) -> None:
    number = digits + luhn_check_digit(digits)
    written = sep.join(number[i : i + 4] for i in range(0, 16, 4))

    disclosed = disclose(before + written + " " + after, ASKING)

    assert not re.search(r"\d", disclosed.text)
    assert disclosed.redactions == {"card": 1}


@given(WORDS, WORDS, st.text("123456789", min_size=9, max_size=12), SEPARATORS, st.booleans())
def test_no_phone_number_survives(
    before: str, after: str, digits: str, sep: str, plus: bool
) -> None:
    written = ("+" if plus else "") + sep.join([digits[:3], digits[3:6], digits[6:]])
    disclosed = disclose(before + written + " " + after, ASKING)
    assert not re.search(r"\d", disclosed.text)
    assert disclosed.redactions == {"phone": 1}


@given(WORDS, WORDS, st.sampled_from(["NL91ABNA0417164300", "BE68539007547034", "NO9386011117947"]))
def test_no_iban_survives(before: str, after: str, iban: str) -> None:
    grouped = " ".join(iban[i : i + 4] for i in range(0, len(iban), 4))
    for written in (iban, grouped, iban.lower()):
        disclosed = disclose(f"{before}{written}, {after}", ASKING)
        assert not re.search(r"\d", disclosed.text)
        assert disclosed.redactions == {"iban": 1}


def test_cutting_ends_at_a_word_and_redacting_is_a_setting() -> None:
    short = replace(ASKING, disclose_max_characters=11)
    assert disclose("the old mill road", short).text == "the old"
    assert disclose("the old mill", replace(short, disclose_max_characters=12)).text.endswith(
        "mill"
    )
    assert disclose("a" * 20, short).text == "a" * 11
    plain = replace(ASKING, redact=False)
    assert disclose("call  415-555-1234", plain).text == "call 415-555-1234"
    assert disclose("call 415-555-1234", plain).redactions == {}


def test_the_text_stays_out_of_the_repr() -> None:
    assert "harbour" not in repr(disclose("the harbour", ASKING))
