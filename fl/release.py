"""A release: the numbered, immutable shared adapter that a round makes, and what sites say of it.

A round's release is a candidate. Sites judge it against the release that is current; the gate makes
it current, or keeps it beside, with the reason.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fl.adapter import Adapter
from fl.tasks import COMPLETE


@dataclass(frozen=True, kw_only=True)
class AdapterRelease:
    """The shared adapter after a round. Release 0 is the adapter the federation starts from."""

    federation: str  # "001", "002", ...
    number: int
    shared: Adapter
    parent_digest: str  # fl.adapter.digest of the release the round started from; "" for release 0
    method: str  # how the updates were combined; "initial" for release 0
    round_number: int  # the round that made it; 0 for release 0
    metrics: Mapping[str, float]  # public numbers of that round
    manifest: bytes = field(repr=False)  # manifest.json as it was signed
    signature: bytes = field(repr=False)  # Ed25519 over `manifest`, 64 bytes, by the cloud's key
    task: str = COMPLETE  # what the adapter is for; federations of each task are counted apart


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """A site's held-out losses of a candidate and of the current release, nats per token.

    Both are taken with the site's personal part as it stands, on the same held-out records.
    """

    release_number: int  # the candidate
    loss: float
    current_number: int
    current_loss: float


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the gate decided about a candidate, one line of `verdicts.jsonl`."""

    release_number: int
    current_number: int  # what it was compared with
    passed: bool
    reason: str  # one sentence with the numbers, also when it passed
    sites: int  # that judged
    worst_site: str  # whose loss rose most, or fell least; "" when nobody judged
    worst_rise: float  # nats per token, candidate minus current, at that site


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """What a site answers when the last release arrives. Losses in nats per completion token."""

    site_id: str
    release_number: int
    shared_heldout_loss: float  # with the release alone
    settled_heldout_loss: float  # after the personal part was trained beside it
    seconds: float
