"""Card and short prompt become an enriched prompt (NetGPT: P_com = LLM(P_con; I)), at the site."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Protocol

from fl.prompt_format import edge_prompt


class Counting(Protocol):
    """What it takes to count tokens."""

    def token_ids(self, text: str) -> list[int]:
        """Tokenise a text."""


class Completing(Counting, Protocol):
    """What enrichment needs of the site's EdgeModel; its adapter is set already."""

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_new_tokens: int,
        between: Callable[[], object] | None = None,
    ) -> list[str]:
        """Continue each prompt greedily; return the new text only, stripped.

        `between` is called between tokens; what it raises gives the writing up.
        """


@dataclass(frozen=True, kw_only=True)
class Enriched:
    """An enriched prompt; the short one itself where the model wrote nothing."""

    text: str = field(repr=False)
    new_tokens: int  # 0 after a fall-back
    seconds: float
    fell_back: bool  # NetGPT: the short prompt P_con goes on in place of P_com


def enrich(
    model: Completing,
    card: str,
    short: str,
    max_new_tokens: int,
    *,
    between: Callable[[], object] | None = None,
) -> Enriched:
    """Complete a short prompt under a card with at most `max_new_tokens` tokens."""
    started, prompt = perf_counter(), edge_prompt(card, short)
    [written] = model.generate([prompt], max_new_tokens=max_new_tokens, between=between)
    return as_enriched(written, short, model, seconds=perf_counter() - started)


def as_enriched(written: str, short: str, model: Counting, *, seconds: float) -> Enriched:
    """What the model wrote for a short prompt, or the short prompt where it wrote nothing."""
    text = written.strip()
    silent = not any(character.isprintable() and character != " " for character in text)
    return Enriched(
        text=short if silent else text,
        new_tokens=0 if silent else len(model.token_ids(text)),
        seconds=seconds,
        fell_back=silent,
    )


def unenriched(short: str, *, fell_back: bool = False) -> Enriched:
    """The short prompt in the enriched one's place."""
    return Enriched(text=short, new_tokens=0, seconds=0.0, fell_back=fell_back)
