"""What `act` is given: its own words among the settings, and intents as JSON."""

from pathlib import Path

import pytest

from clients.insight.acting.words import Words, read_intents, split_words
from fl.errors import ActionError, SettingsError

ONE = '{"intent": "remove_flow", "slots": {}, "confidence": 0.9}'


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


@pytest.mark.parametrize(
    ("text", "count"), [(ONE, None), (f"[{ONE}]", 1), (f"{ONE}\n{ONE}\n", 2), (f"\n{ONE}\n", None)]
)
def test_json_and_lines_of_it(tmp_path: Path, text: str, count: int | None) -> None:
    file = tmp_path / "intents"
    file.write_text(text)
    found = read_intents(str(file))
    assert (len(found) if isinstance(found, list) else None) == count


@pytest.mark.parametrize("text", ["", "\n", f"{ONE}\nnope"])
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "intents"
    file.write_text(text)
    with pytest.raises(ActionError, match="one on each line"):
        read_intents(str(file))
