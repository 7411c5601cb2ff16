"""How quick a link is, as one of its ends found it."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LinkSpeed:
    """A way to the cloud, as measured last."""

    rtt_s: float  # of an empty message, there and back
    up_bytes_s: float  # inf where sending more takes no longer
    down_bytes_s: float
