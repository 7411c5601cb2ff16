"""A release: the numbered, immutable shared adapter that a round makes, and its delivery."""

from collections.abc import Mapping
from dataclasses import dataclass

from fl.adapter import Adapter


@dataclass(frozen=True, kw_only=True)
class AdapterRelease:
    """The shared adapter after a round. Release 0 is the adapter the federation starts from."""

    number: int
    shared: Adapter
    parent_digest: str  # fl.adapter.digest of the release before; "" for release 0
    method: str  # how the updates were combined; "initial" for release 0
    round_number: int  # the round that made it; 0 for release 0
    metrics: Mapping[str, float]  # public numbers of that round


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a site answers when the last release arrives. Losses in nats per completion token."""

    site_id: str
    release_number: int
    shared_heldout_loss: float  # with the release alone
    settled_heldout_loss: float  # after the personal part was trained beside it
    seconds: float
