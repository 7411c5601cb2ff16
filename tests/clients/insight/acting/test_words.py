"""What `act` is given: one intent, a list, or a line each as `intent jsonl=... out=FILE` writes."""

from pathlib import Path

import pytest

from clients.insight.acting.words import read_intents
from fl.errors import ActionError

ONE = '{"intent": "remove_flow", "slots": {}, "confidence": 0.9}'


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
