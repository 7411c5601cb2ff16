"""How quickly a worker writes, all its requests together."""

HALF_S = 10.0  # busy seconds after which a measurement counts half


class Speed:
    """Tokens a second of the time in which there was something to write; the present counts most.

    Moments are seconds of any clock that does not go back.
    """

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0  # both fade
        self._requests = 0
        self._since = 0.0  # while there are requests: what came before is in the sums

    @property
    def tokens_per_second(self) -> float:
        """0 before anything was measured."""
        return self._tokens / self._seconds if self._seconds > 0 else 0.0

    def begin(self, now: float) -> None:
        """A request came."""
        if self._requests == 0:
            self._since = now
        self._requests += 1

    def end(self, now: float, tokens: int) -> None:
        """A request left, for which so many tokens were written."""
        busy = max(now - self._since, 0.0)
        fading = 0.5 ** (busy / HALF_S)
        self._tokens = fading * self._tokens + tokens
        self._seconds = fading * self._seconds + busy
        self._since = now
        self._requests -= 1
