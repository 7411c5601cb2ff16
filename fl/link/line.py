"""When a chunk that is put on a line arrives at its other end: a token bucket, then a delay."""

import random


class Line:
    """One direction of a link. Times are seconds of any one clock; nothing here waits."""

    def __init__(
        self, *, bytes_per_s: float, delay_s: float, jitter_s: float = 0.0, seed: int = 0
    ) -> None:
        """`bytes_per_s` 0 is no bound."""
        self._random = random.Random(seed)
        self._free_at = 0.0  # when the last chunk has left the sender
        self._arrived_at = 0.0
        self.change(bytes_per_s=bytes_per_s, delay_s=delay_s, jitter_s=jitter_s)

    def change(self, *, bytes_per_s: float, delay_s: float, jitter_s: float = 0.0) -> None:
        """Be another line for what comes; what is on its way arrives as it would have."""
        self._bytes_per_s, self._delay_s, self._jitter_s = bytes_per_s, delay_s, jitter_s

    def arrival(self, now: float, size: float) -> float:
        """When the last of `size` bytes arrives. Chunks keep their order, whatever the jitter."""
        self._free_at = self._sent(now, size)
        delay_s = max(0.0, self._random.gauss(self._delay_s, self._jitter_s))
        self._arrived_at = max(self._arrived_at, self._free_at + delay_s)
        return self._arrived_at

    def expect(self, now: float, size: float) -> float:
        """When so many bytes would arrive, without jitter. Puts nothing on the line."""
        return self._sent(now, size) + self._delay_s

    def _sent(self, now: float, size: float) -> float:
        sends_s = size / self._bytes_per_s if self._bytes_per_s else 0.0
        return max(now, self._free_at) + sends_s
