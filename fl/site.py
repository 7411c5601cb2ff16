"""A site as the whole federation knows it: a name, a place, and nothing private."""

import re
from dataclasses import dataclass
from pathlib import Path

from fl.errors import SettingsError

SITE_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,63}$")


@dataclass(frozen=True, kw_only=True)
class Site:
    """A participant. `book` is a path on the site's own disk; None means a demo site."""

    id: str
    place: str  # printed name, also the card of records that carry none
    book: Path | None = None
    intents: Path | None = None  # its books of the by-products; None as above
    trends: Path | None = None
    rank: int = 0  # LoRA rank it can train; 0 = learning.rank, or what memory_mb allows
    memory_mb: int = 0  # MB for learning beyond the base model's weights; 0 = no bound

    def __post_init__(self) -> None:
        if not SITE_NAME.match(self.id):
            raise SettingsError(
                f"A site's id is 1-64 of a-z, 0-9, '_' and '-', not starting with a sign; "
                f"found {self.id!r}."
            )
        if self.rank < 0 or self.memory_mb < 0:
            raise SettingsError(
                f"Site {self.id}: rank and memory_mb are whole numbers, 0 or more; found "
                f"{self.rank} and {self.memory_mb}."
            )
