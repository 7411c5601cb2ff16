"""What sites say of themselves: the newest of each, for as long as it may still be so."""

from dataclasses import dataclass

from fl.errors import GenerationError
from fl.link.speed import LinkSpeed

KEPT_S = 600.0  # sites advertise every few seconds: who is silent for so long has gone
MOST_SITES = 10_000


@dataclass(frozen=True, kw_only=True)
class Advert:
    """What a site says of itself."""

    site_id: str
    cell: str
    cores: int
    memory_mb: int
    waiting: int  # prompts at its model
    step_s: float  # seconds of a step of its model, and more for each prompt in it
    row_s: float
    link: LinkSpeed | None
    federation: str
    release: int
    forecast_per_s: float = 0.0  # requests a second that it forecasts


class Adverts:
    """One cloud's. Times are seconds of any one clock; not for threads."""

    def __init__(self) -> None:
        self._of: dict[str, tuple[float, Advert]] = {}  # by site, the oldest first

    def put(self, now: float, advert: Advert) -> None:
        """A site's newest. Raises GenerationError (RESOURCE_EXHAUSTED) where there are too many."""
        self._forget(now)
        self._of.pop(advert.site_id, None)
        if len(self._of) >= MOST_SITES:
            raise GenerationError(
                f"The cloud knows {MOST_SITES} sites and takes no more. Try again later.",
                status="RESOURCE_EXHAUSTED",
            )
        self._of[advert.site_id] = (now, advert)

    def all(self, now: float) -> list[tuple[float, Advert]]:
        """Each with its age in seconds, by site."""
        self._forget(now)
        return [(now - at, advert) for _, (at, advert) in sorted(self._of.items())]

    def _forget(self, now: float) -> None:
        while self._of:
            site_id, (at, _) = next(iter(self._of.items()))
            if now - at <= KEPT_S:
                return
            del self._of[site_id]
