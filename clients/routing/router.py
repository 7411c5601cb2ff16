"""auto at one site: keeps the own answer or falls back, by calibrated doubt and the live link."""

from clients.asking.ask import Answered
from clients.routing.calibration import Calibration, score_of
from clients.routing.link_meter import LinkMeter
from clients.routing.threshold import tolerated_doubt
from clients.writing import Written
from fl.settings import Settings

FIRST_LOOK_S = 4.0  # how long the first decision may wait for the first measurement


class Router:
    """Needs no key and no cloud: without a way to one, own answers are kept."""

    def __init__(self, settings: Settings, calibration: Calibration, meter: LinkMeter) -> None:
        self._routing, self._calibration, self._meter = settings.routing, calibration, meter

    def look(self) -> None:
        """A request begins: measure the link, while the site writes, where it was long ago."""
        self._meter.look()

    def doubt(self, written: Written) -> float:
        """Probability that this own answer does not say all that it should."""
        return 1 - self._calibration.probability(score_of(written))

    def tolerated(self) -> float:
        """How much doubt is tolerated now."""
        return tolerated_doubt(
            self._meter.state(wait_s=FIRST_LOOK_S),
            self._meter.usual,
            cloud_quality=self._calibration.cloud_faithful or self._routing.cloud_quality,
            price=self._routing.price,
            enriched_whole=self._calibration.enriched_whole,
        )

    def keeps(self, written: Written) -> bool:
        """Is this own answer good enough?"""
        return self.doubt(written) <= self.tolerated()

    def learn(self, answered: Answered) -> None:
        """What became of a request: what asking the cloud takes, or that it cannot be reached."""
        self._meter.hear(answered)
