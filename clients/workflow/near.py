"""The nearest right word, for who mistyped one."""

import difflib
from collections.abc import Collection


def near(word: str, known: Collection[str]) -> str:
    """A sentence: the nearest known word, or what there is."""
    found = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"Did you mean {found[0]}?" if found else f"There are: {', '.join(known)}."
