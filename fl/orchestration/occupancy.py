"""How many were there together, on average, while somebody was."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Stay:
    """Somebody's, since it began."""

    began: float
    area: float  # everybody x seconds, until it began


class Occupancy:
    """Counts who comes and goes. Times are seconds of any one clock; not for threads."""

    def __init__(self) -> None:
        self.now = 0  # how many are there
        self._area = 0.0
        self._at = 0.0

    def enter(self, now: float) -> Stay:
        """Somebody comes."""
        self._count(now)
        self.now += 1
        return Stay(began=now, area=self._area)

    def leave(self, now: float, stay: Stay) -> float:
        """He goes again; how many there were on average, himself included."""
        self._count(now)
        self.now -= 1
        return (self._area - stay.area) / (now - stay.began) if now > stay.began else 1.0

    def _count(self, now: float) -> None:
        self._area += self.now * (now - self._at)
        self._at = now
