"""The card drops whole facts from its end when the budget is short; live facts are checked."""

from pathlib import Path

import pytest

from clients.place_card import card_text, read_facts
from fl.errors import BookError


def words(text: str) -> int:
    return len(text.split())


def test_whole_facts_are_dropped_from_the_end() -> None:
    facts = {"place": "Marlow Quay", "time": "Friday noon", "cafe": "Blue Heron"}
    assert card_text(facts, budget=9, count_tokens=words) == (
        "place Marlow Quay; time Friday noon; cafe Blue Heron"
    )
    assert card_text(facts, budget=8, count_tokens=words) == "place Marlow Quay; time Friday noon"
    assert card_text(facts, budget=1, count_tokens=words) == "place Marlow Quay"


def test_facts_come_from_the_sites_own_file(tmp_path: Path) -> None:
    file = tmp_path / "place.json"
    assert read_facts(file, place="Oslo") == {"place": "Oslo"}
    file.write_text('{"place": "Oslo", "weather": "snow"}')
    assert read_facts(file, place="Oslo") == {"place": "Oslo", "weather": "snow"}
    file.write_text('{"place": 3}')
    with pytest.raises(BookError, match="values are texts"):
        read_facts(file, place="Oslo")
    file.write_text("{")
    with pytest.raises(BookError, match="not a JSON object"):
        read_facts(file, place="Oslo")
