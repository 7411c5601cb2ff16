"""What is usual of a number that changes slowly."""

LEAST_WEIGHT = 0.1  # of the newest number, once there were many


class RunningMean:
    """The mean of a belief and all numbers so far; after a few, newer ones count more."""

    def __init__(self, belief: float) -> None:
        self.value, self._known = belief, 1

    def add(self, number: float) -> None:
        """One more."""
        self._known += 1
        self.value += max(LEAST_WEIGHT, 1 / self._known) * (number - self.value)
