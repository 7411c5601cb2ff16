"""What of `act`'s arguments is its own, and what is a setting."""

import pytest

from clients.insight.acting.words import Words, split_words
from fl.errors import SettingsError


def test_its_own_words_and_the_settings_are_told_apart() -> None:
    words, settings = split_words(["intents=a.json", "acting.expires_s=5", "apply=true", "seed=3"])
    assert words == Words(intents="a.json", apply=True)
    assert settings == ["acting.expires_s=5", "seed=3"]


@pytest.mark.parametrize(
    ("argument", "told"),
    [("aply", r"apply=\.\.\."), ("x", "its words are"), ("yes=1", "true or false")],
)
def test_what_is_neither_is_refused(argument: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        split_words([argument])
