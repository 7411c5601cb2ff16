"""What a request adds to a person's history, the kind of venue it was for and no word more; and
which requests are told of it.
"""

import re
from collections.abc import Iterable

from clients.profiles.profile import History, is_fact_name
from clients.prompts.recall import names

WHERE_AND_WHEN = ("place", "district", "time", "weather")  # of a card; no errand is for these
MOST_KINDS = 16


def kind_named(enriched: str, card_names: Iterable[str]) -> str:
    """The first kind of venue of the place card that the enriched prompt names; "" for none."""
    kinds = [name for name in card_names if name not in WHERE_AND_WHEN and is_fact_name(name)]
    at = {
        kind: found.start()
        for kind in kinds
        if (found := re.search(rf"(?<!\w){re.escape(kind)}(?!\w)", enriched))
    }
    return min(at, key=lambda kind: at[kind]) if at else ""


def asks_for_history(short: str, phrases: Iterable[str]) -> bool:
    """Does the short prompt say one of these, as whole words? `same again` does."""
    return any(names(short, phrase) for phrase in phrases)


def with_request(history: History, kind: str) -> History:
    """One more request for this kind; of MOST_KINDS kinds the rarest makes room for a new one."""
    counts = dict(history.counts)
    if kind not in counts and len(counts) >= MOST_KINDS:
        del counts[min(counts, key=lambda each: counts[each])]
    counts[kind] = counts.get(kind, 0) + 1
    return History(last=kind, counts=counts)
