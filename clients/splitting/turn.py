"""Whose turn it is with something that only one can use at a time."""

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from threading import Condition

from fl.errors import GenerationError


class Turn:
    """Free, or somebody's."""

    def __init__(self) -> None:
        self._change = Condition()
        self._taken = False

    @contextmanager
    def taken(
        self, *, wait_s: float, when_left: Callable[[Callable[[], object]], None]
    ) -> Iterator[None]:
        """Have it for the block. Any thread may end the block.

        Raises GenerationError (RESOURCE_EXHAUSTED) where it is not free within `wait_s` seconds,
        and CancelledError where who waits has left.
        """
        left = False

        def leave() -> None:
            nonlocal left
            with self._change:
                left = True
                self._change.notify_all()

        when_left(leave)
        with self._change:
            if not self._change.wait_for(lambda: left or not self._taken, timeout=wait_s):
                raise GenerationError(
                    "Split requests are run one at a time here, and others took "
                    f"{float(f'{wait_s:.3g}'):g} s (asking.timeout_s, or their step's deadline_s). "
                    "Try again later.",
                    status="RESOURCE_EXHAUSTED",
                )
            if left:
                raise CancelledError
            self._taken = True
        try:
            yield
        finally:
            with self._change:
                self._taken = False
                self._change.notify_all()
