"""How many split requests run at the same time."""

import threading

from fl.errors import GenerationError


class SplitPlaces:
    """A place for each split request that runs, `most` of them."""

    def __init__(self, most: int) -> None:
        self._most, self._taken = most, 0
        self._lock = threading.Lock()

    def take(self) -> None:
        """Raises GenerationError (RESOURCE_EXHAUSTED) where all are taken."""
        with self._lock:
            if self._taken >= self._most:
                raise GenerationError(
                    f"{self._most} split requests run already (split.requests). Try again later.",
                    status="RESOURCE_EXHAUSTED",
                )
            self._taken += 1

    def leave(self) -> None:
        """Give a place back."""
        with self._lock:
            self._taken -= 1
