import os
from pathlib import Path

import pytest

from fl.errors import GenerationError, SettingsError
from fl.openai_api import api_keys
from fl.openai_api.api_keys import ApiKeys, load_keys

ANNA, BERT = "sk-anna-0123456789", "sk-bert-0123456789"


def status_of(keys: ApiKeys, shown: str | None) -> str:
    try:
        return keys.check(shown)
    except GenerationError as error:
        return "quoted" if ANNA in str(error) else error.status


def private_file(folder: Path, text: str) -> Path:
    file = folder / "keys"
    file.write_text(text)
    file.chmod(0o600)
    return file


def test_file_environment_and_given_keys_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = private_file(tmp_path, f"# who\nanna {ANNA} 5\n\n")
    monkeypatch.setenv("OUR_KEYS", f"bert {BERT}")
    keys = load_keys(file, variable="OUR_KEYS", per_minute=2, setting="s", also={"site": "t" * 16})
    assert keys.required
    assert [status_of(keys, f"Bearer {key}") for key in (ANNA, BERT, "t" * 16)] == [
        "anna",
        "bert",
        "site",
    ]
    for shown in (None, "", ANNA, f"Basic {ANNA}", "Bearer", "Bearer \udcff", f"Bearer {ANNA}x"):
        assert status_of(keys, shown) == "UNAUTHENTICATED"


def test_without_keys_nobody_needs_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUR_KEYS", raising=False)
    keys = load_keys("", variable="OUR_KEYS", per_minute=0, setting="s")
    assert not keys.required
    assert keys.check(None) == ""


def test_each_key_has_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(api_keys, "monotonic", lambda: now)
    keys = ApiKeys({"anna": (ANNA, 3), "bert": (BERT, 0)})

    assert [status_of(keys, f"Bearer {ANNA}") for _ in range(4)] == [
        *["anna"] * 3,
        "RESOURCE_EXHAUSTED",
    ]
    assert [status_of(keys, f"Bearer {BERT}") for _ in range(9)] == ["bert"] * 9
    now += 20  # a third of a minute earns one request
    assert [status_of(keys, f"Bearer {ANNA}") for _ in range(2)] == ["anna", "RESOURCE_EXHAUSTED"]
    now += 3600  # never more than a minute's worth
    assert [status_of(keys, f"Bearer {ANNA}") for _ in range(4)].count("anna") == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"anna {ANNA} many", "expected `NAME KEY"),
        ("anna short", "at least 16"),
        (f"anna {ANNA} 5 more", "expected `NAME KEY"),
        (f"anna {ANNA}\nanna {BERT}", "twice"),
    ],
)
def test_a_bad_file_is_refused_unquoted(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said) as refused:
        load_keys(private_file(tmp_path, text), variable="NO_KEYS", per_minute=0, setting="s")
    assert ANNA not in str(refused.value)


def test_a_file_that_others_can_read_or_that_is_not_there(tmp_path: Path) -> None:
    file = private_file(tmp_path, f"anna {ANNA}")
    os.chmod(file, 0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        load_keys(file, variable="NO_KEYS", per_minute=0, setting="s")
    with pytest.raises(SettingsError, match="cannot be read"):
        load_keys(tmp_path / "no", variable="NO_KEYS", per_minute=0, setting="s")
