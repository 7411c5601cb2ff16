"""How fast a model writes, learned from what it wrote: a + b k seconds a token, k at a time.

Weighted least squares over what it has written, older answers counting less and less. What it was
believed to do at first stands for a few answers, alone and in a full step, so that two unknowns are
never fitted to answers that were all alike.
"""

from dataclasses import replace

from fl.orchestration.batch_server import Pace

KEPT = 0.98  # weight of what was known, at each new answer
BELIEF = 4.0  # answers that the first belief counts for, at either end
LEAST_S = 1e-6


class PaceMeter:
    """One model's."""

    def __init__(self, belief: Pace) -> None:
        """`belief` is what is thought of it before anything was seen."""
        self._belief = belief
        self._sums = (0.0, 0.0, 0.0, 0.0, 0.0)  # of 1, k, k k, y and k y, weighted
        for together in (1, belief.rows):
            self._add(together, belief.token_s(together), BELIEF)

    @property
    def pace(self) -> Pace:
        """What is thought of it now."""
        weight, k, kk, y, ky = self._sums
        spread = weight * kk - k * k
        mean_y, mean_k = y / weight, k / weight
        row_s = (weight * ky - k * y) / spread if spread > 0 else 0.0
        row_s = min(max(row_s, 0.0), mean_y / mean_k)  # neither part is below nothing
        return replace(
            self._belief, step_s=max(LEAST_S, mean_y - row_s * mean_k), row_s=max(LEAST_S, row_s)
        )

    def learn(self, *, tokens: int, seconds: float, together: float) -> None:
        """An answer took so long, with so many written at the same time on average."""
        if tokens < 1 or seconds <= 0:
            return
        w, k, kk, y, ky = self._sums
        self._sums = (KEPT * w, KEPT * k, KEPT * kk, KEPT * y, KEPT * ky)
        self._add(max(1.0, together), seconds / tokens, 1.0)

    def _add(self, k: float, y: float, weight: float) -> None:
        new = (1.0, k, k * k, y, k * y)
        w, sk, skk, sy, sky = (s + weight * n for s, n in zip(self._sums, new, strict=True))
        self._sums = (w, sk, skk, sy, sky)
