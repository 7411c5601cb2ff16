"""One record of a site's prompt book. Private: no code outside clients/ can name it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fl.prompt_format import task_prompt
from fl.tasks import COMPLETE


@dataclass(frozen=True, kw_only=True)
class PromptRecord:
    """What somebody typed, what was meant, and the place card of that moment."""

    # repr ends up in logs, so no text stands in it
    short: str = field(repr=False)
    enriched: str = field(repr=False)
    card: str = field(repr=False)
    # phrases the enriched prompt should name, by kind: fact, habit (demo), venue, site (real text)
    marks: Mapping[str, tuple[str, ...]] = field(default_factory=dict, repr=False)
    # phrases that the answer should name beside them, though no card and no prompt says them
    answer_marks: tuple[str, ...] = field(default=(), repr=False)
    task: str = COMPLETE  # of fl.tasks; a by-product's record has no card

    def prompt(self, card: str | None = None) -> str:
        """What the model is given, with this card or the record's own."""
        return task_prompt(self.task, self.card if card is None else card, self.short)
