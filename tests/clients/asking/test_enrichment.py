from collections.abc import Sequence

import pytest

from clients.asking.enrichment import enrich
from fl.prompt_format import edge_prompt


class WritingModel:
    """Writes a fixed text; enrichment only formats, times and falls back."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.seen: list[tuple[str, int]] = []

    def generate(
        self, prompts: Sequence[str], *, max_new_tokens: int, between: object = None
    ) -> list[str]:
        self.seen += [(prompt, max_new_tokens) for prompt in prompts]
        return [self._text for _ in prompts]

    def token_ids(self, text: str) -> list[int]:
        return list(range(len(text.split())))


def test_the_card_and_the_short_prompt_are_read_together() -> None:
    model = WritingModel("a table in Elmford tonight")

    enriched = enrich(model, "place: Elmford", "food", 64)

    assert model.seen == [(edge_prompt("place: Elmford", "food"), 64)]
    assert (enriched.text, enriched.new_tokens, enriched.fell_back) == (
        "a table in Elmford tonight",
        5,
        False,
    )
    assert enriched.seconds >= 0
    assert "Elmford" not in repr(enriched)


@pytest.mark.parametrize("written", ["", " \n", "\x00\u200b"])
def test_a_silent_model_falls_back_to_the_short_prompt_and_says_so(written: str) -> None:
    enriched = enrich(WritingModel(written), "place: Elmford", "food", 64)
    assert (enriched.text, enriched.new_tokens, enriched.fell_back) == ("food", 0, True)
