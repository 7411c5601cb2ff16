"""Privacy classes: how far a value may go."""

from enum import IntEnum


class Privacy(IntEnum):
    """The larger, the further; what is made of several values is as private as the most private."""

    PRIVATE = 0  # short prompt, card, enriched prompt, the site's own text: stays at the site
    DISCLOSED = 1  # came out of the disclosure step: may leave
    OPEN = 2  # figures and names, no text: may be kept and shown

    @property
    def word(self) -> str:
        """As a workflow file writes it."""
        return self.name.lower()


CLASSES = {each.word: each for each in Privacy}
