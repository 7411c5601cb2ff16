"""Rules against bad sites, in product space; the method then combines what they leave.

    norm_bound     an update that moves the product further than C is shortened along its own line
                   (Sun et al., 1911.07963); C is given, or the median of the round's norms
    multi_krum     score = sum of the K - f - 2 smallest squared distances to others; the K - f best
                   are kept (Blanchard et al., 1703.02757); needs K >= 2 f + 3
    trimmed_mean   the f updates farthest from the medoid are left out. Trimming entry by entry
                   (Yin et al., 1803.01498) would need the dense product, and its result has no low
                   rank: here whole updates are trimmed

f is the number of bad sites to withstand. The rules see all updates at once, so they are kept until
the round's end: memory grows with the number of sites. With few, unlike sites a rule may leave out
an honest one: `dropped` says whom and why.
"""

import math
from dataclasses import replace

import numpy as np

from fl.adapter import A_SUFFIX, Adapter
from fl.aggregation.aggregator import Aggregated, Aggregator
from fl.aggregation.layers import Matrix
from fl.aggregation.product_space import Change, change, gram, inner, squared_distances
from fl.aggregation.turn import Turn
from fl.errors import FederationError, SettingsError
from fl.update import AdapterUpdate

RULES = ("norm_bound", "multi_krum", "trimmed_mean")
_HALVINGS = 60  # of the interval in which a length is sought


def updates_needed(rule: str, bad: int) -> int:
    """The fewest updates that a rule can withstand `bad` bad ones among."""
    return {"multi_krum": 2 * bad + 3, "trimmed_mean": 2 * bad + 1}.get(rule, 1) if bad else 1


def robust(
    inner_: Aggregator, rule: str, release: Adapter, turn: Turn, *, bad: int, norm_bound: float
) -> Aggregator:
    """The aggregator behind a rule. `bad` is f, `norm_bound` is C in units of W, 0 = the median.

    Raises SettingsError for an unknown rule.
    """
    if rule not in RULES:
        raise SettingsError(f"federation.robust is none or {', '.join(RULES)}, found {rule!r}.")
    return _Robust(inner_, rule, release, turn, bad=bad, norm_bound=norm_bound)


class _Robust:
    """Keeps a round's updates, judges them together, hands on what is left in the order it came."""

    def __init__(
        self,
        combine: Aggregator,
        rule: str,
        release: Adapter,
        turn: Turn,
        *,
        bad: int,
        norm_bound: float,
    ) -> None:
        self._combine, self._rule = combine, rule
        self._release, self._turn = release, turn
        self._bad, self._bound = bad, norm_bound
        self._held: list[tuple[AdapterUpdate, float | None]] = []

    def add(self, update: AdapterUpdate, *, weight: float | None = None) -> None:
        """Keep an update for the end of the round."""
        self._held.append((update, weight))

    def finish(self) -> Aggregated:
        """Apply the rule, then combine. Raises FederationError where too few sites answered."""
        if not self._held:
            return self._combine.finish()
        changes = [change(update, self._release, self._turn) for update, _ in self._held]
        dropped: dict[str, str] = {}
        if self._rule == "norm_bound":
            dropped = self._shorten(changes)
        elif self._bad:
            dropped = self._select(squared_distances(gram(changes)))
        for update, weight in self._held:
            if update.site_id not in dropped or self._rule == "norm_bound":
                self._combine.add(update, weight=weight)
        return replace(self._combine.finish(), dropped=dropped)

    def _select(self, distances: Matrix) -> dict[str, str]:
        """Whom multi_krum or trimmed_mean leaves out, and why."""
        count, bad, scale = len(self._held), self._bad, self._release.spec.scale
        krum, needed = self._rule == "multi_krum", updates_needed(self._rule, bad)
        if count < needed:
            raise FederationError(
                f"federation.robust={self._rule} against {bad} bad sites needs the updates of at "
                f"least {needed} sites, {count} were admitted. Lower federation.robust_bad, or "
                "raise the quorum."
            )
        if krum:
            scores = np.sort(distances, axis=1)[:, 1 : count - bad - 1].sum(axis=1)
            what = f"sum of its {count - bad - 2} smallest squared distances"
        else:
            scores = distances[int(np.argmin(np.sqrt(distances).sum(axis=1)))]
            what = "squared distance from the medoid"
        left_out = np.argsort(scores, kind="stable")[count - bad :]
        typical = float(np.median(scores))
        return {
            self._held[i][0].site_id: f"left out by {self._rule}: {what} "
            f"{scale**2 * scores[i]:.3g}, the median is {scale**2 * typical:.3g}"
            for i in left_out
        }

    def _shorten(self, changes: list[Change]) -> dict[str, str]:
        """Shorten what moves too far; say whom, and by how much."""
        scale = self._release.spec.scale
        norms = [scale * math.sqrt(max(0.0, inner(one, one))) for one in changes]
        bound = self._bound or float(np.median(norms))
        shortened: dict[str, str] = {}
        for place, (norm, (update, weight)) in enumerate(zip(norms, self._held, strict=True)):
            if norm > bound:
                part = self._length(update, bound)
                tensors = {
                    name: tensor if self._keeps(name) else tensor * np.float32(part)
                    for name, tensor in update.delta.tensors.items()
                }
                delta = Adapter(spec=update.delta.spec, tensors=tensors)
                self._held[place] = (replace(update, delta=delta, packed=None), weight)
                shortened[update.site_id] = (
                    f"shortened by norm_bound: its norm {norm:.3g} is above {bound:.3g}"
                )
        return shortened

    def _keeps(self, name: str) -> bool:
        """A new pair is shortened on its B side; its A is no difference."""
        return self._turn.fresh and name.endswith(A_SUFFIX)

    def _length(self, update: AdapterUpdate, bound: float) -> float:
        """The share of an update that moves the product by `bound`, found by halving."""
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            if self._norm_of_share(update, middle) > bound:
                high = middle
            else:
                low = middle
        return low

    def _norm_of_share(self, update: AdapterUpdate, share: float) -> float:
        tensors = {
            name: tensor if self._keeps(name) else tensor * np.float32(share)
            for name, tensor in update.delta.tensors.items()
        }
        delta = Adapter(spec=update.delta.spec, tensors=tensors)
        moved = change(replace(update, delta=delta), self._release, self._turn)
        return self._release.spec.scale * math.sqrt(max(0.0, inner(moved, moved)))
