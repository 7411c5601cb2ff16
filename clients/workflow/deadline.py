"""How long a step may take. It is kept by whoever does the step: nobody breaks a thread off."""

from collections.abc import Callable
from time import perf_counter

from fl.errors import GenerationError


class Deadline:
    """Begins when it is made."""

    def __init__(
        self, step: str, seconds: float, *, clock: Callable[[], float] = perf_counter
    ) -> None:
        self.step, self.seconds = step, float(f"{seconds:.3g}")  # as it is told
        self._clock, self._began = clock, clock()

    def left(self) -> float:
        """Seconds; 0 where it is over."""
        return max(0.0, self._began + self.seconds - self._clock())

    def check(self) -> None:
        """Raise GenerationError (DEADLINE_EXCEEDED) where it is over."""
        if self.left() <= 0:
            raise GenerationError(
                f"Step {self.step} of the workflow did not end within {self.seconds:g} s "
                "(its deadline_s, or what was left of the whole request's).",
                status="DEADLINE_EXCEEDED",
            )
