"""What goes into the cloud's book and what can be read in it."""

from dataclasses import dataclass

from fl.orchestration.batch_server import Pace


@dataclass(frozen=True, kw_only=True)
class Announced:
    """A request that asks to be admitted; seconds from now."""

    request_id: str
    site_id: str
    cell: str
    deadline_s: float
    bytes_up: float
    bytes_down: float
    ready_s: float
    own_s: float
    rtt_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerNow:
    """A worker as the book has it."""

    name: str
    promised: int
    pace: Pace
