"""What has been promised of a link, each way: bytes, and when they will come to it."""

from dataclasses import dataclass, field, replace

from fl.link.speed import LinkSpeed


@dataclass
class Way:
    """One direction: promised bytes go over it one after the other, as they come."""

    bytes_per_s: float  # inf for no bound
    delay_s: float
    promised: dict[str, tuple[float, float]] = field(default_factory=dict)  # request: when, bytes

    def expect(self, at: float, size: float) -> float:
        """Seconds until bytes are there that come to it at this time, behind those before them."""
        free = at
        if before := sorted(come for come in self.promised.values() if come[0] <= at):
            free = before[0][0]
            for when, its in before:
                free = max(free, when) + its / self.bytes_per_s
        return max(0.0, free - at) + size / self.bytes_per_s + self.delay_s


class Link:
    """What the sites of a cell share. Times are seconds of any one clock."""

    def __init__(self, speed: LinkSpeed) -> None:
        self.first = self._now = speed  # as it was when it was first seen, and as it is
        self.up, self.down = Way(0.0, 0.0), Way(0.0, 0.0)
        self.change(speed)

    def change(self, speed: LinkSpeed) -> None:
        """It is another one now; what is promised takes it as it is."""
        self._now = speed
        self.up.bytes_per_s, self.down.bytes_per_s = speed.up_bytes_s, speed.down_bytes_s
        self.up.delay_s = self.down.delay_s = speed.rtt_s / 2

    def round_trip(self, rtt_s: float) -> None:
        """As quick as before, but farther away or nearer."""
        self.change(replace(self._now, rtt_s=rtt_s))

    def promise(
        self, request_id: str, *, leaves: float, up: float, answered: float, down: float
    ) -> None:
        """So many bytes when its prompt leaves the site, and when its answer leaves the cloud."""
        self.up.promised[request_id] = (leaves, up)
        self.down.promised[request_id] = (answered, down)

    def free(self, request_id: str) -> None:
        """Nothing is promised to this request any longer."""
        self.up.promised.pop(request_id, None)
        self.down.promised.pop(request_id, None)
