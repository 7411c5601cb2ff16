"""The way to the cloud, measured live: round trip, bandwidth each way, and the cloud's load.

Empty messages there and back, a full one there, a full one back. What a full one
takes longer than an empty one is what its bytes take. Nothing of a prompt is in them.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

from clients.asking.ask import Answered
from clients.asking.cloud_channel import CloudChannel
from clients.routing.threshold import LinkState, Usual
from fl.errors import GenerationError

PROBE_BYTES = 16_384  # 65 ms at 2 Mbit/s
KEPT = 0.8  # share of what was usual before in what is usual after a request
_FASTEST_S = 1e-4  # differences below are noise


def measure_link(channel: CloudChannel, site_id: str) -> LinkState:
    """Measure now, five round trips. Raises GenerationError where the cloud is away."""
    channel.probe(site_id)  # opens the connection where it is closed
    empty = min(channel.probe(site_id).seconds for _ in range(2))
    up = channel.probe(site_id, padding=PROBE_BYTES)
    down = channel.probe(site_id, wanted=PROBE_BYTES)
    return LinkState(
        rtt_s=empty,
        up_bytes_s=PROBE_BYTES / max(up.seconds - empty, _FASTEST_S),
        down_bytes_s=PROBE_BYTES / max(down.seconds - empty, _FASTEST_S),
        running=down.running,
        waiting=down.waiting,
    )


class LinkMeter:
    """Keeps what was measured last and measures anew, on a thread of its own, when it is old."""

    def __init__(
        self,
        measure: Callable[[], LinkState],
        *,
        fresh_s: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`fresh_s`: seconds for which a measurement stands."""
        self._measure, self._fresh_s, self._clock = measure, fresh_s, clock
        self._state: LinkState | None = None
        self._at: float | None = None  # of the last measurement, or of its failure
        self._seen_at: float | None = None  # of the last round trip that somebody else saw
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.usual = Usual()

    def look(self) -> None:
        """Begin to measure, where what is known is old. Returns at once."""
        with self._lock:
            old = self._at is None or self._clock() - self._at >= self._fresh_s
            if old and (self._thread is None or not self._thread.is_alive()):
                self._thread = threading.Thread(target=self._run, name="link meter", daemon=True)
                self._thread.start()

    def state(self, *, wait_s: float) -> LinkState | None:
        """What is known; where nothing is yet, wait for it so long. None: no way to the cloud."""
        thread = self._thread
        if self._at is None and thread is not None:
            thread.join(wait_s)
        return self._state

    def hear(self, answered: Answered) -> None:
        """What became of a request: what asking the cloud takes, or that it cannot be reached."""
        if answered.error is not None and answered.error.status == "UNAVAILABLE":
            self.lost()
        elif answered.reply is not None and answered.mode in ("cloud", "synergy"):
            reply = answered.reply
            self.learn(
                bytes_up=answered.bytes_up,
                bytes_down=answered.bytes_down,
                cloud_s=reply.prefill_seconds + reply.decode_seconds,
            )

    def saw(self, rtt_s: float) -> None:
        """Tell how long a short message there and back took just now."""
        with self._lock:
            if self._state is not None:
                self._state = replace(self._state, rtt_s=rtt_s)
                self._seen_at = self._clock()

    @property
    def recent_rtt_s(self) -> float | None:
        """The round trip, where it was measured or seen while a measurement stands."""
        state, newest = self._state, max(self._at or 0.0, self._seen_at or 0.0)
        return state.rtt_s if state and self._clock() - newest < self._fresh_s else None

    def learn(self, *, bytes_up: int, bytes_down: int, cloud_s: float) -> None:
        """Tell what a request to the cloud took."""
        was, new = self.usual, 1 - KEPT
        self.usual = Usual(
            bytes_up=KEPT * was.bytes_up + new * bytes_up,
            bytes_down=KEPT * was.bytes_down + new * bytes_down,
            cloud_s=KEPT * was.cloud_s + new * cloud_s,
        )

    def lost(self) -> None:
        """Tell that the cloud could not be reached: no way, until it is measured again."""
        with self._lock:
            self._state, self._at = None, self._clock()

    def _run(self) -> None:
        try:
            found: LinkState | None = self._measure()
        except GenerationError:
            found = None
        with self._lock:
            self._state, self._at = found, self._clock()
