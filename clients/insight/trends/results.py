"""What the study of trends found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from clients.insight.trends.certainty import Difference
from clients.insight.trends.scores import Score
from clients.insight.trends.yardsticks import PERSISTENCE, YARDSTICKS

BASE, CENTRAL, FEDERATED = "base", "centralised", "federated"
LEARNED = (BASE, CENTRAL, FEDERATED)
ARMS = (*YARDSTICKS, *LEARNED)


@dataclass(frozen=True, kw_only=True)
class SeriesResult:
    """A series: its windows, every arm's score."""

    name: str
    train: int
    heldout: int
    commonest: float  # share of the direction that held-out windows have most often
    commonest_level: float  # the same of levels
    scores: Mapping[str, Score]
    over_persistence: Mapping[str, Difference]  # of a LEARNED arm's sMAPE and persistence's
    over_regression: Mapping[str, Difference]  # the same and AR(24)'s on logarithms
    over_commonest: Mapping[str, Difference]  # of its share of directions told and `commonest`

    def beats_persistence(self, arm: str) -> bool:
        """On sMAPE."""
        return self.scores[arm].smape < self.scores[PERSISTENCE].smape

    def beats_commonest(self, arm: str) -> bool:
        """On direction, against a guess that knows which direction is the commonest."""
        return self.scores[arm].direction > self.commonest

    def best_yardstick(self, measure: Callable[[Score], float]) -> float:
        """The largest of a measure, chosen in hindsight among YARDSTICKS."""
        return max(measure(self.scores[name]) for name in YARDSTICKS)


@dataclass(frozen=True, kw_only=True)
class TrendStudy:
    """All of it."""

    series: tuple[SeriesResult, ...]
    seconds: Mapping[str, float]  # of each learned arm: training and all forecasts
    one_ms: float  # median of a forecast that is asked for alone
    batch_ms: float  # a forecast, of all held-out windows together
