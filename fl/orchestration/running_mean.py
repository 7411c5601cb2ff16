"""What is usual of a number that changes slowly."""

LEAST_WEIGHT = 0.1  # of the newest number, once there were many


class RunningMean:
    """A belief until there is a number; then the mean of all, of which newer ones count more."""

    def __init__(self, belief: float) -> None:
        self.value, self._known = belief, 0

    def add(self, number: float) -> None:
        """One more."""
        self._known += 1
        self.value += max(LEAST_WEIGHT, 1 / self._known) * (number - self.value)
