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

    def __post_init__(self) -> None:
        if not SITE_NAME.match(self.id):
            raise SettingsError(
                f"A site's id is 1-64 of a-z, 0-9, '_' and '-', not starting with a sign; "
                f"found {self.id!r}."
            )
