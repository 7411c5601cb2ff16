"""The last door: what of an enriched prompt may leave the site.

Control and other invisible characters go; whitespace becomes single blanks; e-mail addresses,
IBANs, payment card numbers, phone numbers and other long numbers become [kind]; the rest is cut at
a word. Dates and times of day stay, for requests need them. Names and addresses in words are not
recognised: those a site must keep out of its cards. What a profile says of who asks is known, and
becomes [person] unless profile.disclose names it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from clients.profiles.hidden import NOTHING_HIDDEN, Hidden
from fl.settings import AskingSettings

# Unicode classes that nobody sees: controls, format marks, lone surrogates, private use.
INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Co"})
SHORTEST_NUMBER = 7  # digits; shorter ones are house numbers, prices, times
LONGEST_PHONE = 15  # digits, ITU E.164
CARD_LENGTHS = range(13, 20)  # digits, ISO/IEC 7812

_OUTSIDE_EMAIL = r"\s<>()\[\],;:\"'"
_EMAIL = re.compile(
    rf"(?<![^{_OUTSIDE_EMAIL}])[^{_OUTSIDE_EMAIL}]+@[^{_OUTSIDE_EMAIL}]*\w"
)  # begins where a word begins, so that a long word is read once
# A lookahead, for a word that merely begins like an IBAN may be followed by a real one.
_IBAN_START = re.compile(r"(?<![A-Z0-9])(?=[A-Z]{2}\d{2} ?[A-Z0-9])", re.IGNORECASE)
_IBAN_RUN = re.compile(r"[A-Z0-9](?: ?[A-Z0-9]){14,33}", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(rf"\+?\(?\d(?:[ .\-/()]{{0,2}}\d){{{SHORTEST_NUMBER - 1},}}")
_DATE_OR_TIME = re.compile(
    r"(?<![\d.\-/])"
    r"(\d{1,2}:\d{2}|(?:19|20)\d{2}-[01]\d-[0-3]\d|[0-3]?\d([./])[01]?\d\2(?:19|20)\d{2})"
    r"(?![.\-/]?\d)"
)


@dataclass(frozen=True, kw_only=True)
class Disclosed:
    """The text that leaves, and what was done to it."""

    text: str = field(repr=False)
    characters: int
    redactions: Mapping[str, int]  # kind -> how many were masked


NOTHING = Disclosed(text="", characters=0, redactions={})  # no text leaves


def disclose(
    enriched: str, asking: AskingSettings, *, hidden: Hidden = NOTHING_HIDDEN
) -> Disclosed:
    """Clean, redact and cut an enriched prompt. Disclosing the result again changes nothing.

    `hidden` is what of the person who asks must not leave, whatever asking.redact says.
    """
    text = _visible(enriched)
    redactions: Counter[str] = Counter()

    def person() -> str:
        redactions["person"] += 1
        return "[person]"

    text = hidden.masked(text, person)
    if asking.redact:
        text = _redact(text, redactions)
    text = _cut(text, asking.disclose_max_characters)
    return Disclosed(text=text, characters=len(text), redactions=dict(redactions))


def _visible(text: str) -> str:
    """Visible characters only, words apart by one blank."""
    kept = [
        character
        for character in text
        if character.isspace() or unicodedata.category(character) not in INVISIBLE
    ]
    return " ".join("".join(kept).split())


def _redact(text: str, redactions: Counter[str]) -> str:
    """Mask private numbers and addresses; count them by kind."""

    def mask(kind: str) -> str:
        redactions[kind] += 1
        return f"[{kind}]"

    text = _EMAIL.sub(lambda _: mask("email"), text)
    text = _mask_ibans(text, mask)
    return _outside_dates(text, lambda part: _NUMBER.sub(lambda n: mask(_kind(n[0])), part))


def _mask_ibans(text: str, mask: Callable[[str], str]) -> str:
    parts, start = [], 0
    for candidate in _IBAN_START.finditer(text):
        if candidate.start() >= start and (end := _iban_end(text, candidate.start())):
            parts += [text[start : candidate.start()], mask("iban")]
            start = end
    return "".join([*parts, text[start:]])


def _iban_end(text: str, start: int) -> int | None:
    """Where the longest valid IBAN that begins here and ends with a word ends."""
    run = _IBAN_RUN.match(text, start)
    if run is None:
        return None
    for end in range(run.end(), start + 14, -1):
        ends_a_word = text[end - 1] != " " and not text[end : end + 1].isalnum()
        if ends_a_word and _is_iban(text[start:end]):
            return end
    return None


def _is_iban(text: str) -> bool:
    """ISO 13616: four characters moved to the end, letters as 10-35, the rest modulo 97 is 1."""
    compact = text.replace(" ", "").upper()
    digits = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return int(digits) % 97 == 1


def _outside_dates(text: str, change: Callable[[str], str]) -> str:
    """Apply `change` to all of a text but its dates and times of day."""
    parts, start = [], 0
    for date in _DATE_OR_TIME.finditer(text):
        parts += [change(text[start : date.start()]), date[0]]
        start = date.end()
    return "".join([*parts, change(text[start:])])


def _kind(number: str) -> str:
    digits = [int(character) for character in number if character.isdecimal()]
    if len(digits) in CARD_LENGTHS and _luhn(digits):
        return "card"
    return "phone" if len(digits) <= LONGEST_PHONE else "number"


def _luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812: every second digit from the right doubled, all digit sums together mod 10."""
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(doubled) + sum(digits[-1::-2])) % 10 == 0


def _cut(text: str, longest: int) -> str:
    """At most `longest` characters, ending at a word where there is one to end at."""
    if len(text) <= longest:
        return text
    head = text[:longest]
    if text[longest] != " ":
        whole_words = head.rpartition(" ")[0]
        # A single endless word is cut inside, but not within a number or a date.
        head = whole_words or re.sub(r"[\d .\-/:()+]+$", "", head)
    return head.rstrip()
