"""The place card, NetGPT's I: what a site knows right now, rendered within a token budget.

`place.json` in a site's folder holds the live facts: an object of short texts, the important ones
first. Changing it changes the next enriched prompt without any training.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from fl.errors import BookError
from fl.prompt_format import render_card


def read_facts(path: Path, *, place: str) -> dict[str, str]:
    """The live facts of a site; a site without place.json knows only its place's name."""
    if not path.is_file():
        return {"place": place}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BookError(f"{path}: not a JSON object in UTF-8 ({type(error).__name__}).") from None
    if not isinstance(facts, dict) or not all(isinstance(v, str) for v in facts.values()):
        raise BookError(f"{path}: expected one JSON object whose values are texts.")
    return facts


def card_text(facts: Mapping[str, str], *, budget: int, count_tokens: Callable[[str], int]) -> str:
    """Render as many facts as fit `budget` tokens; whole facts are dropped from the end."""
    return render_card(fitting(facts, budget=budget, count_tokens=count_tokens, least=1))


def fitting(
    facts: Mapping[str, str], *, budget: int, count_tokens: Callable[[str], int], least: int
) -> dict[str, str]:
    """The first of the facts whose rendering fits `budget` tokens, but `least` of them anyhow."""
    kept = dict(facts)
    while len(kept) > least and count_tokens(render_card(kept)) > budget:
        kept.popitem()
    return kept
