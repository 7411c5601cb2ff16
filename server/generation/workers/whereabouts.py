"""Where workers are: started here (processes.py), or running already at known addresses."""

from collections.abc import Sequence
from typing import Protocol


class Whereabouts(Protocol):
    """What knows the workers' addresses. Used by one thread at a time."""

    @property
    def names(self) -> Sequence[str]:
        """The workers, in order."""

    def ended(self) -> dict[str, str]:
        """Workers that have ended since the last call, and how, as the end of a sentence.

        Those whose pause is over are started again.
        """

    def address(self, name: str) -> str | None:
        """Where a worker listens, once it does."""

    def give_up(self, name: str) -> bool:
        """End a worker that does not answer; False where that is for others to do."""

    def close(self) -> None:
        """End what was started."""


class Elsewhere:
    """Workers that somebody else keeps running."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.names = tuple(addresses)

    def ended(self) -> dict[str, str]:
        """Nobody tells; their lines break."""
        return {}

    def address(self, name: str) -> str | None:
        """Its name."""
        return name

    def give_up(self, name: str) -> bool:
        """Only who started it may."""
        return False

    def close(self) -> None:
        """They go on."""
